//! The node config: who this process is, where it listens, and where its files are.
