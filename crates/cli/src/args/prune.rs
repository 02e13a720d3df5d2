//! `lifeboat prune`: its arguments.

use clap::Args;

use super::InTier;

/// `prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove nothing: put snapshots (or all that there are of a component) on hold, until released
    #[arg(long, value_name = "SNAPSHOT|COMPONENT", requires = "reason", num_args = 1..,
        conflicts_with_all = ["release", "holds"])]
    pub hold: Vec<String>,
    /// Remove nothing: take holds away, those of snapshots, of a component, or (without a name) of an
    /// incident
    #[arg(long, value_name = "SNAPSHOT|COMPONENT", requires = "reason", num_args = 0..,
        conflicts_with = "holds")]
    pub release: Option<Vec<String>>,
    /// With `--hold` and `--release`: why, for the ledger
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// With `--hold` and `--release`: the incident that the holds belong to
    #[arg(long, value_name = "NAME")]
    pub incident: Option<String>,
    /// Remove nothing: show the holds that stand
    #[arg(long)]
    pub holds: bool,
    /// Waste that may stay in stored packs: `5%` of what the vault holds, a size, or `unlimited`
    #[arg(long, value_name = "LIMIT")]
    pub max_unused: Option<String>,
    /// How long data that nothing needs waits before a later run deletes it; `0s` deletes at once,
    /// which is safe only while no other program uses the vault [default: 1d]
    #[arg(long, value_name = "SPAN")]
    pub grace: Option<String>,
    /// With `--dry-run`: decide as if it were then (`2027-01-01 03:00Z`, `in 30 days`)
    #[arg(long, value_name = "DATE", requires = "dry_run")]
    pub at: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: InTier,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Say of every snapshot whether it would stay and why, remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
