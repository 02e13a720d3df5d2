//! `kit` and `bootstrap`.

use std::path::PathBuf;

use clap::Args;

/// Where the passphrase of a recovery kit comes from; it is asked for on a terminal, or taken from
/// `LIFEBOAT_KIT_PASSPHRASE`. Never an argument: those are seen by others.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Passphrase {
    /// The kit's passphrase is in this environment variable
    #[arg(long, value_name = "NAME")]
    pub passphrase_env: Option<String>,
    /// The kit's passphrase is in this private file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// This command prints the kit's passphrase
    #[arg(long, value_name = "LINE")]
    pub passphrase_command: Option<String>,
}

/// `kit`
#[derive(Debug, Args)]
pub struct Kit {
    /// The folder of the sealed file and the page
    #[arg(long, value_name = "DIR", default_value = "lifeboat-kit")]
    pub to: PathBuf,
    /// Of the kit.
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Write over an older kit in that folder
    #[arg(long)]
    pub force: bool,
    /// Say what it would hold, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `bootstrap`
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The tier that answers: a folder, `s3://…`, `gs://…` or `az://…`
    #[arg(value_name = "URL")]
    pub url: String,
    /// The recovery kit's sealed file
    #[arg(long, value_name = "FILE")]
    pub kit: PathBuf,
    /// An empty or absent folder for plan, ledgers and evidence
    #[arg(long, value_name = "DIR", default_value = "lifeboat-recovered")]
    pub to: PathBuf,
    /// Of the kit.
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Take the plan that is in the kit, whatever the tier has
    #[arg(long)]
    pub kit_plan: bool,
    /// Go on where the tier is not what the kit vouches for: what is believed comes back, what is
    /// wrong is named
    #[arg(long)]
    pub anyway: bool,
    /// A rehearsal: nothing that is done in the folder is recorded or written to a tier
    #[arg(long, hide = true)]
    pub rehearsal: bool,
    /// Say what would be brought back, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
