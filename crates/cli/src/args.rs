//! The arguments of the command line, as types. Only what they mean to a reader stands here; what
//! they do stands in `commands`.

mod export;
mod kit;
mod log;
mod prune;
mod wal;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use export::Export;
pub use kit::{Bootstrap, Kit, Passphrase};
pub use log::Stream;
pub use prune::Prune;
pub use wal::{Wal, WalFetch, WalPush};

/// Protects applications by one plan file: backs up, proves every backup by restoring it, and
/// measures how fast it is back and how much is lost.
#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or plan error, 3 done with problems, \
4 refused (nothing changed), 5 interrupted, 6 not found, 7 locked, 8 unreachable, \
9 verification failed, 10 objective missed, 11 drill failed."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The plan file
    #[arg(
        short = 'c',
        long = "plan",
        value_name = "FILE",
        env = "LIFEBOAT_PLAN",
        hide_env_values = true,
        default_value = "lifeboat.toml",
        global = true
    )]
    pub plan: PathBuf,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no log on standard error, only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs of this version.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a folder and write a plan and a key for it
    Init(Init),
    /// Check the plan
    Lint(Lint),
    /// Show what the plan means
    #[command(subcommand)]
    Plan(PlanOf),
    /// Take one consistent snapshot of each component
    Backup(Backup),
    /// Ship each component's log as it is written, so that any second can be restored
    Stream(Stream),
    /// Archive a PostgreSQL server's log, and give it back to one that recovers
    #[command(subcommand)]
    Wal(Wal),
    /// Show snapshots and the windows of journals
    List(List),
    /// Read stored snapshots back and prove them
    Verify(Verify),
    /// Bring components back, beside the live data or in its place
    Restore(Restore),
    /// Rehearse a restore in a sandbox, timed and judged
    #[command(subcommand)]
    Drill(Drill),
    /// Remove what the plan's rules do not keep any longer
    Prune(Prune),
    /// Copy snapshots into another tier
    Copy(Copy),
    /// Write a component as a plain file, under the name that people and scripts expect
    Export(Export),
    /// Mend what is stored
    #[command(subcommand)]
    Repair(Repair),
    /// Give the vaults a further key, or another one
    #[command(subcommand)]
    Key(Key),
    /// Make the recovery kit: one sealed file, and one page to print
    Kit(Kit),
    /// Bring plan, ledgers and evidence back onto a bare machine, from one tier and the kit
    Bootstrap(Bootstrap),
    /// Say what would be lost if it burned now, and how long it would take
    Status(Status),
    /// Read the signed log of everything that was done
    #[command(subcommand)]
    Audit(Audit),
    /// Look for what would hinder a recovery
    Doctor(Doctor),
    /// Protect, damage and recover an example application, and write a page about it
    Demo(Demo),
    /// Print the JSON Schema of the plan file
    Schema,
    /// Print a completion script
    Completions(Completions),
    /// Print the manual page, or write all of them to a folder
    Man(Man),
}

/// In which tier.
#[derive(Debug, Args)]
pub struct InTier {
    /// In this tier of the plan [default: the first]
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// The folder of the application
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where copies are to live [default: a folder beside the application's]
    #[arg(long, value_name = "PATH")]
    pub tier: Option<PathBuf>,
    /// Move a plan that is there aside and write a new one; a key that is there is kept and used
    #[arg(long)]
    pub force: bool,
    /// Print the plan, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `lint`
#[derive(Debug, Args)]
pub struct Lint {
    /// Explain a finding's code
    #[arg(long, value_name = "CODE")]
    pub explain: Option<String>,
}

/// `plan`
#[derive(Debug, Subcommand)]
pub enum PlanOf {
    /// Show each component's objectives and the rule that they come from, the retention matrix
    /// (schedule × tier) and the next runs
    Show,
}

/// `backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// The components; all of the plan if none is named
    #[arg(value_name = "COMPONENT")]
    pub components: Vec<String>,
    /// Take the components of this schedule and tag the snapshots with its name
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// Prove each new snapshot right away
    #[arg(long)]
    pub verify: bool,
    /// Say what would be captured, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// Only this component's snapshots
    #[arg(value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: InTier,
}

/// `verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// A component (its newest snapshot) or a snapshot's id; every component if left out
    #[arg(value_name = "COMPONENT|SNAPSHOT")]
    pub what: Option<String>,
    /// Structure only: do not read the data
    #[arg(long)]
    pub quick: bool,
    /// Every snapshot, not only the newest of each component
    #[arg(long)]
    pub all: bool,
    /// Read the data of some packs only and restore nothing: part `2/7`, or `2.5%` chosen by a seed
    /// (`2.5%@SEED` chooses the same again)
    #[arg(long, value_name = "PART", conflicts_with_all = ["quick", "all"])]
    pub subset: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: InTier,
}

/// `restore`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["component", "all"])))]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "in_place"])))]
pub struct Restore {
    /// The component
    #[arg(value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Every component of the plan, each into its own folder
    #[arg(long, conflicts_with = "path")]
    pub all: bool,
    /// A new or empty folder for the restored data; `-` writes a tar stream to standard output, with
    /// `--path` of one file its content alone
    #[arg(long, value_name = "DIR|-")]
    pub to: Option<PathBuf>,
    /// The folder may hold something: compare it with the snapshot and write only what differs
    #[arg(long, requires = "to")]
    pub verify_existing: bool,
    /// With `--verify-existing`: remove what the snapshot does not hold (else it stays, and is named;
    /// over a server's data directory it has to be said)
    #[arg(long, requires = "verify_existing")]
    pub delete: bool,
    /// Everything committed by this time and nothing later (`2026-11-21 02:00Z`, `2 hours ago`,
    /// `yesterday 02:00Z`): any second of a streamed component's window, else the newest snapshot
    /// before it. Or a place in its log (`lsn:0/16B3748`, `position:…`), a restore point (`name:…`),
    /// a transaction (`xid:…`), a snapshot's id, `newest` [default: the newest]
    #[arg(long, value_name = "POINT")]
    pub at: Option<String>,
    /// With a point in a log: the snapshot to begin from [default: chosen]
    #[arg(long, value_name = "SNAPSHOT")]
    pub base: Option<String>,
    /// Only this file or folder of the component
    #[arg(long, value_name = "SUBPATH", conflicts_with = "in_place")]
    pub path: Option<PathBuf>,
    /// Only what was proven: snapshots that a verify restored, a log as far as a restore went
    #[arg(long)]
    pub verified_only: bool,
    /// Stage the copy and all that its server needs to recover by itself, and start nothing: where
    /// the server's version is missing
    #[arg(long, conflicts_with_all = ["in_place", "path"])]
    pub prepare_only: bool,
    /// Put the restored data in place of the live data, which is kept aside
    #[arg(long)]
    pub in_place: bool,
    /// Leave a copy that failed its checks where it was staged, for a look
    #[arg(long)]
    pub keep_failed: bool,
    /// From where.
    #[command(flatten)]
    pub place: InTier,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// With `--yes`: the name of the component that is replaced; with `--all` the plan's name
    #[arg(long, value_name = "NAME", requires = "yes")]
    pub confirm: Option<String>,
    /// Say what would be restored from where, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `drill`
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Run drills now
    Run(DrillRun),
    /// Show the drills of the plan, their next runs and last results
    List,
}

/// `drill run`
#[derive(Debug, Args)]
pub struct DrillRun {
    /// Drills of the plan or components; every component if none is named
    #[arg(value_name = "NAME|COMPONENT")]
    pub names: Vec<String>,
    /// With nothing but this recovery kit: a new process with an empty environment and an empty home
    /// bootstraps and restores everything
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "seed"])]
    pub kit: Option<PathBuf>,
    /// Of the kit.
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Choose the older points of streamed components by this number [default: the clock]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// From where.
    #[command(flatten)]
    pub place: InTier,
    /// Say what would be rehearsed, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `copy`
#[derive(Debug, Args)]
pub struct Copy {
    /// Components, or ids of snapshots; everything if none is named
    #[arg(value_name = "COMPONENT|SNAPSHOT")]
    pub what: Vec<String>,
    /// The tier that the copies go to [default: the only other one]
    #[arg(long, value_name = "TIER")]
    pub to: Option<String>,
    /// The tier that is copied [default: the first]
    #[arg(long, value_name = "TIER")]
    pub from: Option<String>,
    /// Say what would be copied, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `repair`
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// Make the vault's index anew from its packs where it is damaged or incomplete
    Index(RepairIndex),
}

/// `repair index`
#[derive(Debug, Args)]
pub struct RepairIndex {
    /// Read every pack's header, not only those that the index lacks or has wrong
    #[arg(long)]
    pub read_all: bool,
    /// Where.
    #[command(flatten)]
    pub place: InTier,
    /// Say what would be mended, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `key`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Let a further key open the vaults too
    Add(KeyAdd),
    /// Replace the vault key: a new one is added, proven, and the old one removed
    Rotate(KeyRotate),
}

/// `key add`
#[derive(Debug, Args)]
pub struct KeyAdd {
    /// A private file that holds the further key
    #[arg(long, value_name = "FILE")]
    pub new_key_file: PathBuf,
    /// Only in this tier of the plan [default: in all that have a vault]
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// Say what would be added, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `key rotate`
#[derive(Debug, Args)]
pub struct KeyRotate {
    /// A private file that holds the new key
    #[arg(long, value_name = "FILE")]
    pub new_key_file: PathBuf,
    /// Only in this tier of the plan [default: in all that have a vault]. With `--compromised`: the
    /// tier to start from [default: the first]; every other one with its master key is emptied into
    /// the new vault and put on hold all the same
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// The old key may be known to others: make a new vault with another master key and seal
    /// everything anew in it; the old ones are put on hold. A new key alone does not help then:
    /// whoever opened the vault once may have kept its master key
    #[arg(long)]
    pub compromised: bool,
    /// With `--compromised`: the tier of the new vault [default: the only other one]
    #[arg(long, value_name = "TIER", requires = "compromised")]
    pub to: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Say what would be done, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// End with 10 if an objective is missed, 3 if something else is wrong
    #[arg(long)]
    pub check: bool,
}

/// `audit`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show the newest entries
    Log(AuditLog),
    /// Prove that no entry was edited, removed, reordered or cut off
    Verify(AuditVerify),
}

/// `audit log`
#[derive(Debug, Args)]
pub struct AuditLog {
    /// How many entries, newest last
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// The host whose ledger is meant: another one's is read from the tier [default: this host]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// `audit verify`
#[derive(Debug, Args)]
pub struct AuditVerify {
    /// The fingerprint of the signing key, from the recovery kit [default: the local key]
    #[arg(long, value_name = "FINGERPRINT")]
    pub key: Option<String>,
    /// The host whose ledger is meant: another one's is read from the tier [default: this host]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: InTier,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// An empty or absent folder to work in [default: a new temporary folder]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// With a real PostgreSQL server under load, killed and wiped
    #[arg(long)]
    pub postgres: bool,
    /// Keep the application, the tier and the key, not only the page
    #[arg(long)]
    pub keep: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Args)]
pub struct Man {
    /// Write one page a command into this folder
    pub dir: Option<PathBuf>,
    /// Name the pages, write nothing
    #[arg(short = 'n', long, requires = "dir")]
    pub dry_run: bool,
}

/// Verbs of the design that a later version brings.
pub const LATER: &[&str] = &[
    "simulate",
    "recover-rows",
    "import-csv",
    "scenario",
    "incident",
    "evidence",
    "serve",
    "watch",
    "install",
];
