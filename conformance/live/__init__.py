"""Level 4: black-box checks of a running server over loopback, whatever it is made of."""
