//! `export`.

use clap::Args;

use super::InTier;

/// `export`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["component", "catalog"])))]
pub struct Export {
    /// The component: restored, verified, and written as one plain file
    #[arg(value_name = "COMPONENT")]
    pub component: Option<String>,
    /// The list of all backups with their verification and where they are, as
    /// `backup_metadata.json`
    #[arg(long, conflicts_with_all = ["name", "at", "gzip", "tier"])]
    pub catalog: bool,
    /// The file's name below the place, folders included; its words are `{type}` `{component}`
    /// `{ext}` `{id}` `{TS}` `{YYYYMMDD}` `{HHMMSS}` `{YYYY}` `{MM}` `{DD}`
    /// [default: backup_{type}_{TS}.{ext}]
    #[arg(long = "as", value_name = "TEMPLATE")]
    pub name: Option<String>,
    /// A folder, or a place in a bucket of the plan's tiers: `s3://bucket/prefix`
    #[arg(long, value_name = "DIR|URL", default_value = ".")]
    pub to: String,
    /// The point, as for `restore` [default: the newest]
    #[arg(long, value_name = "POINT")]
    pub at: Option<String>,
    /// Compress it; a name that ends with `.gz` asks for the same
    #[arg(long)]
    pub gzip: bool,
    /// From where.
    #[command(flatten)]
    pub place: InTier,
    /// Say what would be written, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
