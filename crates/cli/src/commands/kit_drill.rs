//! `drill run --kit FILE`: this program, started anew with an empty environment and an empty home,
//! gets the kit and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_model::chain::Hash;
use lifeboat_model::exit::Exit;
use lifeboat_recovery::Error;
use lifeboat_recovery::env::Secret;
use lifeboat_recovery::flows::{self, KitDrillRequest, KitRun};
use serde_json::Value;

use super::kit::{PASSPHRASE, absolute, passphrase, sealed};
use crate::args::DrillRun;
use crate::environment::Environment;
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::render;
use crate::screen::Reply;

/// What the new process is told of this machine: where programs are, nothing of the plan.
const KEPT: [&str; 2] = ["PATH", "LIFEBOAT_PG_HOMES"];

/// `lifeboat drill run --kit FILE`
pub fn run(args: &DrillRun, kit: &Path, hands: &Hands<'_>) -> Outcome<Reply> {
    let mut wired = hands.open()?;
    wired = match &args.place.tier {
        Some(name) => wired.in_tier(Some(name))?,
        None => in_farthest(wired),
    };
    let file = absolute(kit)?;
    let hash = Hash::of(&sealed(&file)?).to_string();
    let url = match wired.world.tier.place.folder() {
        Some(folder) => folder.display().to_string(),
        None => wired.world.tier.url.clone(),
    };
    if args.dry_run {
        let words = format!(
            "would bootstrap from {url} with nothing but {}, and restore every component into a \
             sandbox\n",
            file.display()
        );
        let body = serde_json::json!({ "kit": hash, "from": url });
        return Reply::new(Exit::Done, "kit-drill-recipe", &body, words);
    }
    let passphrase = passphrase(&args.passphrase, hands, false)?;
    let program = std::env::current_exe()
        .map_err(|error| Fault::caused(Exit::Failed, "cannot find this program itself", &error))?;
    let child = Child { program, passphrase, environment: hands.environment };
    let request = KitDrillRequest {
        kit: hash,
        steps: vec![
            ("bootstrap", Box::new(|sandbox: &Path| child.bootstrap(sandbox, &url, &file))),
            ("restore", Box::new(|sandbox: &Path| child.restore(sandbox))),
        ],
    };
    let report = flows::kit_drill(&wired.world, &request);
    wired.progress.clear();
    let report = report?;
    let words = render::kit_drill(&report, hands.screen);
    Reply::new(report.exit(), "kit-drill", &report, words)
}

/// Where a burnt machine would come back from: the first tier that is not on this machine, if any.
fn in_farthest(mut wired: Wired) -> Wired {
    let away = wired.world.tiers.iter().find(|tier| tier.place.folder().is_none());
    if let Some(tier) = away.cloned() {
        wired.world.tier = tier;
    }
    wired
}

/// The program as a machine would start it that has nothing else.
struct Child {
    program: PathBuf,
    passphrase: Secret,
    environment: Environment,
}

impl Child {
    fn bootstrap(&self, sandbox: &Path, url: &str, kit: &Path) -> Result<KitRun, Error> {
        let back = sandbox.join("back");
        let mut command = self.command(sandbox, sandbox);
        command.arg("bootstrap").arg(url).arg("--kit").arg(kit).arg("--to").arg(back);
        command.args(["--rehearsal", "--json", "--quiet", "--passphrase-env", PASSPHRASE]);
        command.env(PASSPHRASE, self.passphrase.expose());
        let (exit, document) = self.ran(command)?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        // A tier that lags behind another one is named, and as good for this.
        let passed = matches!(exit, 0 | 3);
        let mut found = match passed {
            true => format!("plan from {}; {} entries", text("plan_from"), document["entries"]),
            false => failure(&document),
        };
        if passed && exit != 0 {
            found = format!("{found}; {}", failure(&document));
        }
        Ok(KitRun { exit, passed, found, components: Vec::new() })
    }

    fn restore(&self, sandbox: &Path) -> Result<KitRun, Error> {
        let mut command = self.command(sandbox, &sandbox.join("back"));
        command.args(["restore", "--all", "--json", "--quiet", "--to"]).arg(sandbox.join("data"));
        let (exit, document) = self.ran(command)?;
        let all = document["components"].as_array().cloned().unwrap_or_default();
        let passed = all.iter().filter(|one| one["verdict"] == "pass");
        let components: Vec<String> =
            passed.filter_map(|one| Some(one["component"].as_str()?.to_owned())).collect();
        let passed = matches!(exit, 0 | 3) && !all.is_empty() && components.len() == all.len();
        let found = match passed {
            true => format!("restored and verified: {}", components.join(", ")),
            false => failure(&document),
        };
        Ok(KitRun { exit, passed, found, components })
    }

    fn command(&self, sandbox: &Path, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(folder).env("HOME", sandbox.join("home"));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        for name in KEPT {
            if let Some(value) = self.environment.get(name) {
                command.env(name, value);
            }
        }
        command
    }

    fn ran(&self, mut command: Command) -> Result<(u8, Value), Error> {
        let output = command.output().map_err(Error::io("start", &self.program))?;
        // Ended by a signal, it did not end well.
        let exit = output.status.code().and_then(|code| u8::try_from(code).ok());
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((exit.unwrap_or(Exit::Failed.code()), document))
    }
}

/// The sentence of a document that says what went wrong.
fn failure(document: &Value) -> String {
    if let Some(error) = document["error"].as_str() {
        let causes = document["causes"].as_array().cloned().unwrap_or_default();
        let causes = causes.iter().filter_map(Value::as_str).map(|cause| format!(": {cause}"));
        return causes.fold(error.to_owned(), |all, cause| all + &cause);
    }
    let findings = document["findings"].as_array().cloned().unwrap_or_default();
    let said: Vec<String> =
        findings.iter().filter_map(|one| Some(one["what"].as_str()?.to_owned())).collect();
    let components = document["components"].as_array().cloned().unwrap_or_default();
    let failed = components.iter().filter(|one| one["verdict"] != "pass").map(|one| {
        let name = one["component"].as_str().unwrap_or_default();
        format!("{name}: {}", one["error"]["message"].as_str().unwrap_or("its checks failed"))
    });
    let all: Vec<String> = said.into_iter().chain(failed).collect();
    if all.is_empty() { "it did not end well".to_owned() } else { all.join("; ") }
}
