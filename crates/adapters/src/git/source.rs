//! The capture: the mirror is brought up to date, and a bundle of all of it is stored.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::manifest::{Content, FORMAT, GitContent, Manifest};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_vault::{BackupSession, Problem};
use zeroize::Zeroizing;

use super::program::{Git, Seen, look};
use crate::printed;

const ASK: &str = "see that `git ls-remote` of that address works for this user; a credential is \
                   named with `token_env`";

/// What the plan says of such a component.
pub struct GitOptions {
    /// The component's name.
    pub component: String,
    /// Address of the repository, or its absolute path.
    pub url: String,
    /// Credential for it.
    pub token: Option<Zeroizing<String>>,
    /// Where the mirror stands.
    pub mirror: PathBuf,
    /// `HOME`, `SSH_AUTH_SOCK` and the like.
    pub surroundings: Vec<(String, String)>,
}

/// A repository elsewhere.
pub struct GitSource {
    options: GitOptions,
}

impl GitSource {
    /// Reads by `options`.
    pub fn new(options: GitOptions) -> GitSource {
        GitSource { options }
    }

    /// Brings the mirror up to date, or makes it.
    fn fetch(&self, git: &Git<'_>, context: &CaptureContext<'_>) -> Result<(), SourceError> {
        let GitOptions { mirror, url, .. } = &self.options;
        if mirror.join("HEAD").exists() {
            let what = format!("`git fetch` of {}", shown(url));
            let all = ["fetch", "--quiet", "--prune", "--force", url, "+refs/*:refs/*"];
            let failed = match git.run(mirror, &all, &what, ASK) {
                Ok(_) => return self.follow_head(git),
                Err(error) => error,
            };
            // Is it the mirror? What answers and cannot be fetched into it is cloned anew.
            git.run(&parent(mirror), &["ls-remote", "--quiet", "--heads", "--", url], &what, ASK)
                .map_err(|_| failed)?;
            context.monitor.note(&format!("the mirror of {} is made anew", shown(url)));
            fs::remove_dir_all(mirror).map_err(unreadable(mirror))?;
        }
        self.clone(git)
    }

    fn clone(&self, git: &Git<'_>) -> Result<(), SourceError> {
        let GitOptions { mirror, url, .. } = &self.options;
        let folder = parent(mirror);
        fs::create_dir_all(&folder).map_err(unreadable(&folder))?;
        let part = mirror.with_extension("part");
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unreadable(&part)(error));
            }
            _ => {}
        }
        let what = format!("`git clone` of {}", shown(url));
        let to = part.to_string_lossy();
        let clone = ["clone", "--quiet", "--mirror", "--no-local", "--", url, &to];
        git.run(&folder, &clone, &what, ASK)?;
        fs::rename(&part, mirror).map_err(unreadable(mirror))
    }

    /// The other side may have chosen another branch.
    fn follow_head(&self, git: &Git<'_>) -> Result<(), SourceError> {
        let GitOptions { mirror, url, .. } = &self.options;
        let asked = ["ls-remote", "--symref", "--", url, "HEAD"];
        let said = git.run(mirror, &asked, &format!("`git ls-remote` of {}", shown(url)), ASK)?;
        let head = said.lines().find_map(|line| line.strip_prefix("ref: ")?.split_once('\t'));
        if let Some((branch, _)) = head {
            let set = ["symbolic-ref", "HEAD", branch];
            git.run(mirror, &set, "`git symbolic-ref`", "see that the state folder is writable")?;
        }
        Ok(())
    }

    /// What a bundle of it lacks.
    fn left_out(&self, git: &Git<'_>, seen: &Seen) -> Result<Vec<String>, SourceError> {
        let Some(head) = &seen.head else { return Ok(Vec::new()) };
        let mirror = &self.options.mirror;
        let names = ["ls-tree", "-r", "-z", "--name-only", head];
        let names = git.run(mirror, &names, "`git ls-tree`", "look at it with `git fsck`")?;
        let mut found = Vec::new();
        let mut names = names.split('\0');
        if names.any(|name| name == ".gitattributes" || name.ends_with("/.gitattributes")) {
            let asked =
                ["grep", "--quiet", "-e", "filter=lfs", head, "--", ":(glob)**/.gitattributes"];
            // It fails where there is none.
            if git.run(mirror, &asked, "`git grep`", "").is_ok() {
                found.push("large files that LFS keeps are not in it".to_owned());
            }
        }
        Ok(found)
    }
}

impl Source for GitSource {
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let started = context.clock.wall();
        let options = &self.options;
        let git = Git {
            surroundings: &options.surroundings,
            token: options.token.as_ref(),
            clock: context.clock,
            cancel: context.cancel,
        };
        self.fetch(&git, context)?;
        let seen = look(&git, &options.mirror)?;
        if seen.refs.is_empty() {
            return Err(SourceError::Unfit {
                what: format!("{} has no branch and no tag", shown(&options.url)),
                hint: "push to it first, or leave the component out of the plan".to_owned(),
            });
        }
        let problems = self.left_out(&git, &seen)?;
        for what in &problems {
            let path = PathBuf::from(shown(&options.url));
            session.add_problem(Problem { path, what: what.clone() });
        }
        // One thread and no compression of git's own: what did not change is cut and named the same.
        let mut bundle = vec!["-c", "pack.threads=1", "-c", "core.compression=0"];
        bundle.extend(["bundle", "create", "--quiet", "-", "--all"]);
        bundle.extend(seen.head.is_some().then_some("HEAD"));
        let what = format!("`git bundle` of {}", shown(&options.url));
        let command = git.command(&options.mirror, &bundle);
        let running = git.start(command, &what, "look at the mirror with `git fsck`")?;
        let name = format!("{}.bundle", options.component);
        let printed = printed::store(session, &name, running, context)?;
        let Seen { head, refs, commits } = seen;
        let source = shown(&options.url);
        let manifest = Manifest {
            format: FORMAT,
            component: options.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started,
            finished: context.clock.wall(),
            position: None,
            content: Content::Git(GitContent { source, printed, head, refs, commits, problems }),
        };
        Ok(Capture { manifest, complete_up_to: started, blocked: None })
    }
}

/// An address without what stands before its `@`.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> SourceError {
    let what = path.display().to_string();
    move |error| SourceError::Read { what: what.clone(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_an_address_is_not_shown() {
        assert_eq!(shown("https://me:geheim@host/x@y.git"), "https://host/x@y.git");
        assert_eq!(shown("https://host"), "https://host");
        assert_eq!(shown("git@host:path"), "git@host:path");
    }
}
