"""What talks. Each engine is a pure machine behind the one ``Engine`` interface; none knows a carrier or a socket."""
