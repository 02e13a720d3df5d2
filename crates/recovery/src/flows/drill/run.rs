//! The rehearsal itself: a sandbox, the recipe's components in it, the checks, the clock.

use std::path::Path;

use lifeboat_model::check::CheckResult;
use lifeboat_model::measure::{Moment, Timeline, judge};
use lifeboat_model::objective::{Circumstances, Objectives, resolve};
use lifeboat_model::recipe::{RestoreItem, RestoreRecipe};
use lifeboat_model::verdict::Verdict;

use super::outcome::Rehearsed;
use super::points::Older;
use crate::env::World;
use crate::error::{Error, Result, ends_run};
use crate::flows::point::{Ways, chosen, preflight};
use crate::prove::{Copy, Declared, Places, bytes_needed, restore_copy};
use crate::report::{Failure, WayReport};
use crate::session::Start;
use crate::staging::{Staging, remove_tree};
use crate::tier::OpenTier;

/// A drill under way.
pub(super) struct Run<'a> {
    pub(super) world: &'a World,
    pub(super) tier: &'a OpenTier,
    pub(super) t0: Start,
    pub(super) id: &'a str,
    pub(super) drill: Option<&'a str>,
    pub(super) ways: &'a Ways,
}

impl<'a> Run<'a> {
    /// Makes the sandbox, rehearses in it, and removes it whatever happened.
    pub(super) fn in_sandbox(
        &self,
        recipe: &RestoreRecipe,
        parent: &Path,
        older: Older<'_>,
        findings: &mut Vec<String>,
    ) -> Result<(Vec<Rehearsed>, Vec<CheckResult>, bool)> {
        self.room(recipe, parent)?;
        let world = self.world;
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let stem = format!("drill-{}-", self.id);
        let sandbox = Staging::make(&world.state, parent, &stem, "drill")?;
        let folder = sandbox.folder().display().to_string();
        let result = self.rehearse(recipe, sandbox.data(), older, findings);
        let removed = sandbox.remove();
        let (rehearsed, together) = result?;
        if let Err(error) = &removed {
            let why = Failure::of(error).line();
            findings.push(format!("the sandbox {folder} could not be removed: {why}"));
        }
        Ok((rehearsed, together, removed.is_ok()))
    }

    /// Refuses before anything is written where the copies would not fit.
    fn room(&self, recipe: &RestoreRecipe, parent: &Path) -> Result<()> {
        let mut needed = 0u64;
        for item in &recipe.items {
            // One without a readable manifest fails its rehearsal, not everybody's.
            if let Ok(subject) = chosen(self.tier, item, self.ways) {
                needed = needed.saturating_add(bytes_needed(&subject.manifest));
            }
        }
        preflight(self.world, parent, needed).map(|_| ())
    }

    fn rehearse(
        &self,
        recipe: &RestoreRecipe,
        sandbox: &Path,
        mut older: Older<'_>,
        findings: &mut Vec<String>,
    ) -> Result<(Vec<Rehearsed>, Vec<CheckResult>)> {
        let plan = &self.world.plan;
        let mut asked = Declared::default();
        let (mut rehearsed, mut copies) = (Vec::new(), Vec::new());
        for item in &recipe.items {
            let (one, copy) = self.one(item, sandbox, &mut asked)?;
            findings
                .extend(item.choice.warnings.iter().map(|w| format!("{}: {w}", item.component)));
            rehearsed.push(one);
            copies.extend(copy);
        }
        asked.ask_together(plan, &copies);
        for copy in &copies {
            if let Err(error) = copy.settle() {
                let own = rehearsed.iter_mut().find(|one| one.component == copy.component);
                own.into_iter().for_each(|one| one.failure = Some(Failure::of(&error)));
            }
        }
        for one in &mut rehearsed {
            let asked_together = asked.together.iter().any(|(name, _)| *name == one.component);
            one.plans = asked.of(&one.component);
            one.plans.extend(self.ways.get(&one.component).and_then(|way| way.doubt.clone()));
            self.judge(one, asked_together);
        }
        for copy in copies {
            // Room for the next ones.
            let folder = copy.folder.clone();
            drop(copy);
            remove_tree(&folder)?;
        }
        for one in rehearsed.iter_mut().filter(|one| one.failure.is_none()) {
            older.rehearse(self, one, sandbox, findings)?;
            let all = one.points.iter().map(|point| point.verdict).chain([one.verdict]);
            one.verdict = Verdict::of(all);
        }
        findings.extend(asked.not_asked());
        findings.extend(rehearsed.iter().flat_map(|one| {
            let notes = one.rto.note.iter().chain(&one.rpo.note);
            notes.map(|note| format!("{}: {note}", one.component)).collect::<Vec<_>>()
        }));
        Ok((rehearsed, asked.together.into_iter().map(|(_, check)| check).collect()))
    }

    /// Restores one component and asks everything that concerns it alone.
    fn one(
        &self,
        item: &'a RestoreItem,
        sandbox: &Path,
        asked: &mut Declared,
    ) -> Result<(Rehearsed, Option<Copy<'a>>)> {
        let mut one = self.blank(&item.component);
        one.item = Some(item.clone());
        one.t2 = Some(self.world.start());
        let folder = sandbox.join(&item.component);
        let scratch = sandbox.join(format!(".{}", item.component));
        let places = Places { folder: &folder, scratch: &scratch };
        let restored = chosen(self.tier, item, self.ways)
            .and_then(|subject| restore_copy(self.world, &subject, None, places));
        match restored {
            Ok(copy) => {
                one.t3 = Some(copy.data_back);
                one.proof = copy.proof();
                (one.files, one.bytes) = (copy.files, copy.bytes);
                one.complete_up_to = Some(copy.complete_up_to());
                one.way = way_of(self.ways, &copy);
                asked.ask_one(&self.world.plan, &copy);
                one.t4 = Some(self.world.start());
                Ok((one, Some(copy)))
            }
            Err(error) if ends_run(&error) => Err(error),
            Err(error) => {
                one.failure = Some(Failure::of(&error));
                Ok((one, None))
            }
        }
    }

    /// Verdict and measures. What was not proven has no T4, and an RPO that is not known.
    fn judge(&self, one: &mut Rehearsed, asked_together: bool) {
        if asked_together {
            one.t4 = one.t4.map(|_| self.world.start());
        }
        let checks = one.proof.iter().chain(&one.plans).map(|check| check.verdict);
        one.verdict = match (&one.failure, Verdict::of(checks)) {
            (Some(_), _) => Verdict::Fail,
            (None, verdict) => verdict,
        };
        let equal = Verdict::of(one.proof.iter().map(|check| check.verdict)) == Verdict::Pass;
        if !equal {
            one.complete_up_to = None;
        }
        let moment = |start: Start| Moment::both(start.wall, self.id, start.monotonic);
        one.line = Timeline {
            detected: Some(moment(self.t0)),
            started: one.t2.map(moment),
            restored: one.t3.map(moment),
            verified: one.t4.filter(|_| one.verdict == Verdict::Pass).map(moment),
            ..Timeline::default()
        };
        let Objectives { rto, rpo } = self.objectives(&one.component);
        one.rto = judge(rto, one.line.rto());
        one.rpo = judge(rpo, one.line.rpo(one.complete_up_to));
    }

    fn objectives(&self, component: &str) -> Objectives {
        let now = Circumstances { drill: self.drill, scenario: None };
        resolve(&self.world.plan, component, now)
    }

    fn blank(&self, component: &str) -> Rehearsed {
        let nothing = Timeline::default();
        Rehearsed {
            component: component.to_owned(),
            item: None,
            verdict: Verdict::Inconclusive,
            proof: Vec::new(),
            plans: Vec::new(),
            rto: judge(None, nothing.rto()),
            rpo: judge(None, nothing.rpo(None)),
            line: nothing,
            complete_up_to: None,
            t2: None,
            t3: None,
            t4: None,
            files: 0,
            bytes: 0,
            way: None,
            points: Vec::new(),
            failure: None,
        }
    }

    /// A component that this version does not carry out has no verdict, and no pass.
    pub(super) fn not_carried(&self, component: &str, why: &str) -> Rehearsed {
        let mut one = self.blank(component);
        let verdict = Verdict::Inconclusive;
        one.plans = vec![CheckResult::new("carried out", verdict, "restored and checked", why)];
        self.judge(&mut one, false);
        one
    }

    /// A component for which there is nothing to restore has failed its drill.
    pub(super) fn nothing_to(&self, component: &str, failure: &Failure) -> Rehearsed {
        let mut one = self.blank(component);
        one.failure = Some(failure.clone());
        self.judge(&mut one, false);
        one
    }
}

/// The way as it was taken.
fn way_of(ways: &Ways, copy: &Copy<'_>) -> Option<WayReport> {
    let mut way = ways.get(copy.component)?.shown.clone()?;
    let recovered = copy.recovered.as_ref()?;
    way.reached.clone_from(&recovered.position);
    way.complete_up_to = recovered.complete_up_to;
    Some(way)
}
