//! The scenes of the demonstration, in order. Each calls the flow of the command that it shows,
//! measures, and leaves a step for the story.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::exit::Exit;
use lifeboat_model::verdict::Verdict;
use lifeboat_recovery::flows::{
    self, At, AuditRequest, BackupRequest, Destination, DrillRequest, RestoreRequest, VerifyRequest,
};
use lifeboat_recovery::report::{BackupReport, ComponentOutcome, RestoreReport, VerifyReport};
use lifeboat_vault::{Clock, NoMonitor};

use super::application::{self, Application, Count, Order, PRODUCTS};
use super::ground::{Ground, cannot};
use super::measure;
use super::story::{self, Ledger, Proof, Rehearsal, Step, Tampering};
use crate::fault::{Fault, Outcome};
use crate::hands::{Hands, Wired};
use crate::plan_file::PlanFile;
use crate::screen::Screen;
use crate::{render, text, wire};

/// How long the shop sells before each scene that wants fresh orders.
const TRADE: Duration = Duration::from_millis(1200);
/// How long to wait for the shop before giving up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the shop.
const POLL: Duration = Duration::from_millis(5);

/// The state between the scenes.
pub struct Scenes<'a> {
    pub(super) hands: &'a Hands<'a>,
    pub(super) ground: &'a Ground,
    pub(super) wired: Wired,
    pub(super) spinner: indicatif::ProgressBar,
    pub(super) began: Duration,
    pub(super) started: Timestamp,
    pub(super) steps: Vec<Step>,
    pub(super) shop: Option<Application>,
    /// Every order that was acknowledged, of both lives of the shop.
    pub(super) orders: Vec<Order>,
    /// Begin and end of each backup, by the monotonic clock.
    pub(super) backups: Vec<(Duration, Duration)>,
    pub(super) verification: Option<VerifyReport>,
    pub(super) restore: Option<RestoreReport>,
    pub(super) times: story::Times,
    pub(super) noticed_at: Timestamp,
    pub(super) proof: Option<Proof>,
    pub(super) drill: Option<Rehearsal>,
    pub(super) tampering: Option<Tampering>,
    pub(super) ledger: Option<Ledger>,
}

impl<'a> Scenes<'a> {
    /// Builds the world of the demonstration's own plan.
    pub fn new(hands: &'a Hands<'a>, ground: &'a Ground) -> Outcome<Scenes<'a>> {
        let file = PlanFile::read(&ground.plan(), false)?;
        let quiet = Arc::new(crate::progress::Progress::new(false, true));
        let wired = wire::build_with(hands, file, quiet, Arc::new(NoMonitor))?;
        let spinner = if hands.screen.live {
            indicatif::ProgressBar::new_spinner()
        } else {
            indicatif::ProgressBar::hidden()
        };
        spinner.enable_steady_tick(Duration::from_millis(100));
        Ok(Scenes {
            hands,
            ground,
            wired,
            spinner,
            began: hands.clock.monotonic(),
            started: hands.now(),
            steps: Vec::new(),
            shop: None,
            orders: Vec::new(),
            backups: Vec::new(),
            verification: None,
            restore: None,
            times: story::Times::default(),
            noticed_at: hands.now(),
            proof: None,
            drill: None,
            tampering: None,
            ledger: None,
        })
    }

    /// Seconds since the start.
    pub(super) fn now(&self) -> f64 {
        self.since(self.hands.clock.monotonic())
    }

    fn since(&self, at: Duration) -> f64 {
        at.saturating_sub(self.began).as_secs_f64()
    }

    fn begin(&self, what: &'static str) -> f64 {
        self.spinner.set_message(what);
        self.now()
    }

    fn step(&mut self, name: &'static str, from: f64, held: bool, what: String) {
        let verdict = if held { Verdict::Pass } else { Verdict::Fail };
        self.steps.push(Step { name, what, from, to: self.now(), verdict });
    }

    /// Waits until `done`, the end of patience, or Ctrl-C.
    fn wait(&self, what: &str, done: impl Fn() -> bool) -> Outcome<()> {
        let until = self.hands.clock.monotonic() + PATIENCE;
        while !done() {
            if self.hands.cancel.is_cancelled() {
                return Err(Fault::new(Exit::Interrupted, "stopped on request"));
            }
            if self.hands.clock.monotonic() > until {
                return Err(Fault::new(
                    Exit::Failed,
                    format!("{what} did not happen within {}", text::span(PATIENCE)),
                ));
            }
            self.hands.clock.sleep(POLL);
        }
        Ok(())
    }

    fn shop(&self) -> Outcome<&Application> {
        self.shop.as_ref().ok_or_else(|| Fault::new(Exit::Failed, "the shop is not open"))
    }

    fn open(&mut self) -> Outcome<()> {
        let shop = Application::start(&self.ground.shop(), self.hands.clock.clone())
            .map_err(|error| Fault::caused(Exit::Failed, "cannot open the shop", &error))?;
        self.shop = Some(shop);
        Ok(())
    }

    /// Lets the shop sell for a while.
    fn trade(&self, span: Duration) -> Outcome<()> {
        let shop = self.shop()?;
        let until = self.hands.clock.monotonic() + span;
        let sold = shop.told().orders.len();
        self.wait("an order", || {
            let told = shop.told();
            told.failed.is_some()
                || (self.hands.clock.monotonic() >= until && told.orders.len() > sold)
        })?;
        match &shop.told().failed {
            None => Ok(()),
            Some(failure) => {
                Err(Fault::new(Exit::Failed, "the shop stopped working by itself")
                    .hint(&failure.why))
            }
        }
    }

    /// Makes the application and lets it sell.
    pub fn open_the_shop(&mut self) -> Outcome<()> {
        let from = self.begin("opening a print shop");
        let bytes = application::make(&self.ground.shop()).map_err(|error| {
            Fault::caused(Exit::Failed, "cannot make the example application", error.as_ref())
        })?;
        self.open()?;
        self.trade(TRADE)?;
        let rate = measure::rate(&self.shop()?.told().orders);
        let what = format!(
            "a print shop sells {PRODUCTS} photographs ({}), {} orders a second into SQLite",
            text::size(bytes),
            text::count(rate as u64)
        );
        self.step("open", from, true, what);
        Ok(())
    }

    /// Two backups under load; the second takes over what did not change.
    pub fn back_up_twice(&mut self) -> Outcome<()> {
        let first = self.back_up()?;
        let (report, from) = first;
        let what = format!(
            "first: {}, {} read, {} stored",
            text::plural(report.components.len() as u64, "component", "components"),
            text::size(report.components.iter().map(|c| c.bytes_read).sum()),
            text::size(report.components.iter().map(|c| c.bytes_added).sum()),
        );
        self.step("backup", from, saved(&report), what);
        self.trade(TRADE)?;
        let (report, from) = self.back_up()?;
        let unchanged: u64 = report.components.iter().map(|c| c.files_unmodified).sum();
        let stored: u64 = report.components.iter().map(|c| c.bytes_added).sum();
        let what = format!(
            "second: {} unchanged and not read again, {} stored",
            text::plural(unchanged, "file", "files"),
            text::size(stored)
        );
        // Every photograph and the configuration.
        let expected = PRODUCTS.unsigned_abs() + 1;
        self.step("backup", from, saved(&report) && unchanged == expected, what);
        Ok(())
    }

    fn back_up(&mut self) -> Outcome<(BackupReport, f64)> {
        let from = self.begin("backing up while it sells");
        let begin = self.hands.clock.monotonic();
        let report = flows::backup(&self.wired.world, &BackupRequest::default())?;
        self.backups.push((begin, self.hands.clock.monotonic()));
        Ok((report, from))
    }

    /// Reads everything back and proves it.
    pub fn verify(&mut self) -> Outcome<()> {
        let from = self.begin("reading the copies back");
        let report = flows::verify(&self.wired.world, &VerifyRequest::default())?;
        // Older snapshots are read; the newest of each component is restored and compared.
        let restored: Vec<_> = report.snapshots.iter().filter(|it| it.restored).collect();
        let points: Vec<_> = restored.iter().flat_map(|snapshot| &snapshot.points).collect();
        let passed = points.iter().filter(|point| point.verdict == Verdict::Pass).count();
        let what = format!(
            "every object read, {} restored and compared with what the live source said: {passed} \
             of {} points",
            text::plural(restored.len() as u64, "snapshot", "snapshots"),
            points.len()
        );
        let components = self.wired.file.plan.component.len();
        let held = report.verdict == Verdict::Pass
            && restored.len() == components
            && passed == 10 * components;
        self.verification = Some(report);
        self.step("verify", from, held, what);
        Ok(())
    }

    /// The disaster: the database is overwritten, the photographs are deleted.
    pub fn destroy(&mut self) -> Outcome<()> {
        self.trade(TRADE / 2)?;
        let from = self.begin("destroying it");
        self.times.damaged = from;
        for end in ["", "-wal"] {
            let path = self.ground.shop().join(format!("{}{end}", application::DATABASE));
            measure::overwrite(&path).map_err(|error| cannot(&path, &error))?;
        }
        let media = self.ground.shop().join("media");
        fs::remove_dir_all(&media).map_err(|error| cannot(&media, &error))?;
        let shop = self.shop.take().ok_or_else(|| Fault::new(Exit::Failed, "no shop"))?;
        self.wait("the failure of the shop", || shop.told().failed.is_some())?;
        let told = shop
            .stop()
            .map_err(|error| Fault::caused(Exit::Failed, "cannot stop the shop", &error))?;
        let failure =
            told.failed.ok_or_else(|| Fault::new(Exit::Failed, "the shop did not notice"))?;
        self.orders.extend(told.orders);
        self.times.t0 = self.since(failure.heard);
        self.noticed_at = failure.at;
        let what = format!(
            "database overwritten, {PRODUCTS} photographs deleted; the shop noticed after {}: {}",
            text::seconds(self.times.t0 - self.times.damaged),
            failure.why
        );
        self.step("damage", from, true, what);
        Ok(())
    }

    /// Recovery in place, the former state kept, until the first new order.
    pub fn restore_in_place(&mut self) -> Outcome<()> {
        let from = self.begin("recovering");
        (self.times.t1, self.times.t2) = (from, from);
        let request = RestoreRequest {
            components: Vec::new(),
            all: true,
            at: At::Newest,
            verified_only: true,
            base: None,
            prepare_only: false,
            to: Destination::InPlace,
            path: None,
            keep_failed: false,
        };
        let report = flows::restore(&self.wired.world, &request)?;
        self.times.t4 = self.now();
        if report.verdict != Verdict::Pass {
            self.spinner.finish_and_clear();
            return Err(Fault {
                causes: vec![render::restore(&report, &Screen::new(false, true, true))],
                ..Fault::new(report.exit(), "the shop did not come back")
            });
        }
        self.open()?;
        let shop = self.shop()?;
        self.wait("the first new order", || !shop.told().orders.is_empty())?;
        let first = shop.told().orders.first().map(|order| order.heard);
        self.times.t5 = first.map_or(self.now(), |heard| self.since(heard));
        let kept: usize = report.components.iter().map(|component| component.kept.len()).sum();
        let what = format!(
            "in place from verified snapshots, the former state kept in {}; open again {} after \
             the damage was noticed",
            text::plural(kept as u64, "place", "places"),
            text::seconds(self.times.t5 - self.times.t0)
        );
        self.restore = Some(report);
        self.step("restore", from, kept > 0, what);
        Ok(())
    }

    /// Counts what came back, by the application's own rules.
    pub fn compare(&mut self) -> Outcome<()> {
        let from = self.begin("counting orders");
        let count = application::count(&self.ground.shop()).map_err(|error| {
            Fault::caused(Exit::Failed, "the recovered database cannot be read", &error)
        })?;
        let complete = self.point_of("orders");
        let proof = self.prove(&count, complete)?;
        if let Some(complete) = complete {
            let lost = measure::seconds_between(complete, self.noticed_at);
            self.times.complete_up_to = self.times.t0 - lost;
        }
        let what = format!(
            "{} orders came back, {} of them broken, none of the {} acknowledged before the \
             capture missing; {} photographs equal byte for byte",
            text::count(proof.orders),
            proof.broken,
            text::count(proof.promised),
            text::count(proof.photos - proof.photos_wrong)
        );
        let held = proof.holds();
        self.proof = Some(proof);
        self.step("compare", from, held, what);
        Ok(())
    }

    /// The instant up to which a restored component is complete.
    fn point_of(&self, component: &str) -> Option<Timestamp> {
        let restored = self.restore.as_ref()?.components.iter();
        restored.filter(|it| it.component == component).find_map(|it| it.complete_up_to)
    }

    fn prove(&self, count: &Count, complete: Option<Timestamp>) -> Outcome<Proof> {
        // The shop numbers its orders without gaps, so that the first one after the recovery tells
        // how many came back.
        let first = self.shop()?.told().orders.first().map_or(0, |order| order.id);
        let restored = u64::try_from(first - 1).unwrap_or(0);
        let acknowledged = self.orders.last().map_or(0, |order| order.id.unsigned_abs());
        let promised = complete.map_or(0, |complete| {
            let before = self.orders.iter().filter(|order| order.at <= complete);
            before.map(|order| order.id.unsigned_abs()).max().unwrap_or(0)
        });
        let wrong = measure::wrong_photographs(&self.ground.shop());
        Ok(Proof {
            orders: restored,
            promised,
            broken: count.broken.unsigned_abs(),
            till_agrees: count.till_agrees && count.orders == count.newest,
            lost: acknowledged.saturating_sub(restored),
            photos: PRODUCTS.unsigned_abs(),
            photos_wrong: wrong,
        })
    }

    /// A drill while the shop sells again.
    pub fn rehearse(&mut self) -> Outcome<()> {
        let from = self.begin("rehearsing");
        let request = DrillRequest { names: vec!["rehearsal".into()], at: At::Newest, seed: None };
        let report = flows::drill(&self.wired.world, &request)?;
        let checks: Vec<_> =
            report.components.iter().flat_map(|c| &c.checks).chain(&report.together).collect();
        let passed = checks.iter().filter(|check| check.verdict == Verdict::Pass).count() as u64;
        let rto = report.components.iter().filter_map(|c| c.rto_seconds).reduce(f64::max);
        let drill = Rehearsal {
            verdict: report.verdict,
            passed,
            checks: checks.len() as u64,
            rto_seconds: rto,
            evidence: report.evidence.as_ref().map(|evidence| evidence.id.clone()),
        };
        let what = format!(
            "the same recovery rehearsed in a sandbox: {} of {} checks, RTO {}, sandbox {}, \
             evidence {}",
            drill.passed,
            drill.checks,
            rto.map_or_else(|| "unknown".into(), text::seconds),
            if report.sandbox_removed { "removed" } else { "left behind" },
            if drill.evidence.is_some() { "signed" } else { "missing" },
        );
        let held =
            report.exit() == Exit::Done && report.sandbox_removed && drill.evidence.is_some();
        self.drill = Some(drill);
        self.step("drill", from, held, what);
        Ok(())
    }

    /// Flips one byte of the tier, looks whether it is found, and puts it back.
    pub fn tamper(&mut self) -> Outcome<()> {
        let from = self.begin("tampering with a copy");
        let tier = self.ground.path("tier");
        let (object, offset) =
            measure::largest_pack(&tier.join("vault")).map_err(|error| cannot(&tier, &error))?;
        let path = tier.join("vault").join(&object);
        let flip = || measure::flip(&path, offset).map_err(|error| cannot(&path, &error));
        flip()?;
        let found = flows::verify(&self.wired.world, &VerifyRequest::default());
        flip()?;
        let found = found?;
        let name = object.rsplit('/').next().unwrap_or(&object);
        let damage = found.vault.damage.iter().find(|damage| damage.object.contains(name));
        let again = flows::verify(&self.wired.world, &VerifyRequest::default())?;
        let snapshots = damage
            .map_or(0, |damage| damage.snapshots.iter().collect::<BTreeSet<_>>().len() as u64);
        let tampering = Tampering {
            said: damage.map_or_else(
                || "nothing".into(),
                |damage| format!("{}: {}", damage.object, damage.what),
            ),
            object,
            offset,
            snapshots,
            healed: again.verdict == Verdict::Pass,
        };
        let held = damage.is_some() && found.exit() == Exit::Unverified && tampering.healed;
        let what = format!(
            "one byte of {} flipped: verify {}",
            short_object(&tampering.object),
            if damage.is_some() {
                format!(
                    "named the object and {}; put back, it passed again",
                    text::plural(snapshots, "snapshot that needs it", "snapshots that need it")
                )
            } else {
                "did not notice".into()
            }
        );
        self.tampering = Some(tampering);
        self.step("tamper", from, held, what);
        Ok(())
    }

    /// Verifies the log of all this.
    pub fn audit(&mut self) -> Outcome<()> {
        let from = self.begin("verifying the ledger");
        let report = flows::audit_verify(&self.wired.world, &AuditRequest::default())?;
        let what = format!(
            "{} in the signed ledger, from the first backup to the last verification: {}",
            text::plural(report.entries, "entry", "entries"),
            match report.verdict {
                Verdict::Pass => "whole, in order, unchanged",
                other => other.word(),
            }
        );
        let ledger = Ledger {
            verdict: report.verdict,
            entries: report.entries,
            statement: report.statement,
        };
        let held = ledger.verdict == Verdict::Pass;
        self.ledger = Some(ledger);
        self.step("audit", from, held, what);
        Ok(())
    }
}

/// True if every component has a new, whole snapshot.
fn saved(report: &BackupReport) -> bool {
    report.exit() == Exit::Done
        && report.components.iter().all(|c| c.outcome == ComponentOutcome::Saved)
}

/// `data/3f/3f21b0c4…`
fn short_object(object: &str) -> String {
    match object.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", &object[..end]),
        None => object.to_owned(),
    }
}
