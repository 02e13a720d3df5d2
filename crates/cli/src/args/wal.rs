//! The arguments of `wal`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `wal`
#[derive(Debug, Subcommand)]
pub enum Wal {
    /// Store a file of the log: `archive_command = 'lifeboat --plan FILE wal push %p'`
    #[command(after_help = PUSH)]
    Push(WalPush),
    /// Fetch a file of the log: `restore_command = 'lifeboat --plan FILE wal fetch %f %p'`
    #[command(after_help = FETCH)]
    Fetch(WalFetch),
}

const PUSH: &str = "Ends with 0 once a tier has it that does not lie on this machine (or the only \
one), also if it was there with the same content. With anything else the server keeps the file and \
tries again: 4 another content is there under its name, or it is of another server; 8 no tier takes \
it now; the rest as everywhere. Nothing is ever replaced.";

const FETCH: &str = "Ends with 0 if the file is there; with 1 only if every tier of the plan answered \
and none has it: the log ends there. With 255, whatever else is wrong (a tier that does not answer, \
no key, an object that is damaged or not signed by anybody who is trusted, a gap, a log of which no \
tier has anything): a server that is told so stops its recovery with an error, where 1 would end it \
and let the server go on without the rest. The last segment, if nobody has it to its end, is filled \
up with zeros.";

/// `wal push`
#[derive(Debug, Args)]
pub struct WalPush {
    /// The file, as the server names it (`%p`): a segment, `.partial`, `.history` or `.backup`
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The component [default: the one whose log it is, by the system identifier]
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
}

/// `wal fetch`
#[derive(Debug, Args)]
pub struct WalFetch {
    /// The file that is wanted (`%f`)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where it is to be put (`%p`)
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The component [default: the one whose log it is, by the system identifier]
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
}
