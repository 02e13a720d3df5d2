//! `wal push` and `wal fetch` from outside: what is stored, refused, found, and said to be absent; and
//! real servers that archive and recover with them.

mod kit;
mod server;
mod store;
