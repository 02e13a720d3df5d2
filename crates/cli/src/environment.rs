//! The process environment, read here and nowhere else, and only by the names that the command
//! line or the plan gives.

use std::ffi::OsString;

/// Access to environment variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment;

impl Environment {
    /// The value of a variable, if it is set and not empty.
    #[allow(clippy::disallowed_methods)] // the one place that reads the environment
    pub fn get(self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }

    /// The value as text; what is not UTF-8 counts as not set.
    pub fn text(self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| value.into_string().ok())
    }

    /// True if the user does not want colour (<https://no-color.org>) or the terminal has none.
    pub fn no_color(self) -> bool {
        self.get("NO_COLOR").is_some() || self.text("TERM").is_some_and(|term| term == "dumb")
    }
}
