"""One wire protocol a file: messages to commands, events to messages. No I/O."""
