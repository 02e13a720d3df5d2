//! The plan file: every table of it as a type, read with the place of each value.
//!
//! [`Plan::parse`] is strict: unknown keys, wrong types and contradictions within one entry are
//! errors, as many as can be found in one go. References between entries are judged by
//! [`crate::lint`]: a plan with such findings still backs up and restores.

pub mod base;
pub mod carried;
pub mod check;
pub mod component;
pub mod error;
mod parse;
pub mod paths;
pub mod people;
pub(crate) mod read;
pub(crate) mod scalars;
pub mod scenario;
pub mod value;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

pub use base::{
    Class, Compression, Drill, DrillKind, Event, Header, Key, Location, Schedule, SecretSource,
    Tier, TierRole,
};
pub use carried::NotCarriedOut;
pub use check::{Check, Question};
pub use component::{Command, Component, Files, Fingerprint, Git, Kind, Mode, Postgres, Sqlite};
pub use error::{PlanError, PlanErrors, nearest};
pub use people::{
    Alert, Channel, Contact, Detector, Escalation, Prevention, Price, Template, Vendor,
};
pub use read::{Many, Map};
pub use scenario::{Action, Retry, Scenario, Step};
pub use value::{Day, Keep, KeepRules, Percent, Review, Scalar};

use crate::span::At;

/// A disaster-recovery plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Plan {
    /// Other files that belong to the plan, relative to its folder.
    #[serde(default)]
    pub include: Vec<At<String>>,
    /// Document control and what holds for the whole plan.
    #[serde(rename = "plan")]
    pub header: Header,
    /// Where keys come from.
    #[schemars(default)]
    pub key: Key,
    /// Groups of components with common objectives.
    #[serde(default)]
    pub class: Map<Class>,
    /// What must survive.
    #[serde(default)]
    pub component: Map<Component>,
    /// Where copies live.
    #[serde(default)]
    pub tier: Map<Tier>,
    /// When backups run and how long they are kept.
    #[serde(default)]
    pub schedule: Map<Schedule>,
    /// Named disasters and what is done then.
    #[serde(default)]
    pub scenario: Map<Scenario>,
    /// Rehearsals.
    #[serde(default)]
    pub drill: Map<Drill>,
    /// What notices a disaster.
    #[serde(default)]
    pub detector: Map<Detector>,
    /// People to call.
    #[serde(default)]
    pub contact: Map<Contact>,
    /// Firms whose help is needed.
    #[serde(default)]
    pub vendor: Map<Vendor>,
    /// Who is told, later and later.
    #[serde(default)]
    pub escalation: Map<Escalation>,
    /// Ways to tell people.
    #[serde(default)]
    pub channel: Map<Channel>,
    /// What is told to whom.
    #[serde(default)]
    pub alert: Map<Alert>,
    /// Texts to send.
    #[serde(default)]
    pub template: Map<Template>,
    /// What is done so that disasters do not happen.
    #[serde(default)]
    pub prevention: Map<Prevention>,
    /// What storage costs.
    #[serde(default)]
    pub price: Map<Price>,
}

impl Plan {
    /// The folder against which relative paths are resolved, given the plan file's own folder.
    pub fn base(&self, folder: &Path) -> PathBuf {
        match &self.header.base {
            Some(base) => paths::resolve(folder, base.as_str()),
            None => paths::normal(folder),
        }
    }

    /// The folder of local state, given the plan file's own folder.
    pub fn state(&self, folder: &Path) -> PathBuf {
        let base = self.base(folder);
        match &self.header.state {
            Some(state) => paths::resolve(&base, state.as_str()),
            None => base.join(".lifeboat"),
        }
    }

    /// A path as written in the plan, made absolute, given the plan file's own folder.
    pub fn path(&self, folder: &Path, written: &str) -> PathBuf {
        paths::resolve(&self.base(folder), written)
    }

    /// The class of a component, if it names one that exists.
    pub fn class_of(&self, component: &Component) -> Option<(&str, &At<Class>)> {
        let name = component.class.as_ref()?;
        self.class.get_key_value(name.as_str()).map(|(name, class)| (name.as_str(), class))
    }

    /// Components in the order of recovery: own order, else the class's; without either last; then
    /// by name.
    pub fn in_recovery_order(&self) -> Vec<(&str, &At<Component>)> {
        let mut all: Vec<_> = self.component.iter().map(|(name, c)| (name.as_str(), c)).collect();
        all.sort_by_key(|(name, component)| (self.order_of(component), *name));
        all
    }

    /// Place in the order of recovery; `u32::MAX` if nothing says.
    pub fn order_of(&self, component: &Component) -> u32 {
        let class = || self.class_of(component).and_then(|(_, class)| class.order.as_ref());
        component.order.as_ref().or_else(class).map_or(u32::MAX, |order| **order)
    }

    /// The retention of a schedule's snapshots in a tier: the schedule's word, else the tier's.
    pub fn keep(&self, schedule: Option<&str>, tier: &str) -> Option<&At<Keep>> {
        let own = schedule.and_then(|name| self.schedule.get(name)?.keep.get(tier));
        own.or_else(|| self.tier.get(tier)?.keep.as_ref())
    }

    /// The canonical form: one JSON document without absent values, keys sorted, spans in one
    /// notation, includes merged. It holds no secrets, for a plan cannot hold any.
    pub fn canonical(&self) -> String {
        let mut plan = self.clone();
        plan.include.clear();
        // A plan consists of texts, numbers and tables, which all have a JSON form.
        let value = serde_json::to_value(&plan).unwrap_or_default();
        crate::canonical::to_string(&crate::canonical::without_absent(value))
    }

    /// The revision: SHA-256 of the canonical form, hexadecimal.
    pub fn revision(&self) -> String {
        crate::canonical::sha256_hex(self.canonical().as_bytes())
    }
}
