//! The arguments of `stream`.

use clap::Args;

/// `stream`
#[derive(Debug, Args)]
pub struct Stream {
    /// The components; all that the plan streams if none is named
    #[arg(value_name = "COMPONENT")]
    pub components: Vec<String>,
    /// End once everything that is there is stored (and a base that was wanted is taken)
    #[arg(long, conflicts_with = "span")]
    pub once: bool,
    /// End after so long
    #[arg(long = "for", value_name = "SPAN")]
    pub span: Option<String>,
    /// Take no base where a log begins anew or had a gap: what follows cannot be restored before a
    /// backup has taken one
    #[arg(long)]
    pub no_base: bool,
    /// Remove from the sources what streams made there (a slot), and stream no more
    #[arg(long, conflicts_with_all = ["once", "span", "no_base"])]
    pub detach: bool,
    /// Do not ask
    #[arg(long, requires = "detach")]
    pub yes: bool,
    /// Say what would be made in the sources (with `--detach`: removed), write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
