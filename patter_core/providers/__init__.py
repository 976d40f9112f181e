"""Speech-to-text, language models, text-to-speech: one provider's wire protocol per folder or file.

Options (what people write), specs (data only), the machine that speaks the protocol, and the other role of it for the
simulator. None knows a socket, a carrier or a call; keys are here only on their way into the table of ``Secrets``.
"""
