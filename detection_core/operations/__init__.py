"""One function per job kind: a spec in, a result out. The only layer that puts the ones below together."""
