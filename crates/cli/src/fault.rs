//! A command's failure: an exit code, one lower-case sentence, its causes and a hint.

use std::error::Error;
use std::fmt::Display;

use lifeboat_model::exit::Exit;

/// What went wrong, ready to print.
#[derive(Debug)]
pub struct Fault {
    /// The exit code.
    pub exit: Exit,
    /// One lower-case sentence.
    pub message: String,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// The command or change that mends it.
    pub hint: Option<String>,
    /// A rendering with the place in the plan file, printed instead of the sentence.
    pub rendered: Option<String>,
}

/// The result of a command or of a part of one.
pub type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// A failure without causes.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Fault { exit, message: message.to_string(), causes: Vec::new(), hint: None, rendered: None }
    }

    /// A usage or plan error.
    pub fn usage(message: impl Display) -> Self {
        Fault::new(Exit::Usage, message)
    }

    /// A refusal: nothing was changed.
    pub fn refused(message: impl Display) -> Self {
        Fault::new(Exit::Refused, message)
    }

    /// A failure that is an error's own sentence, its sources as causes.
    pub fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Fault { causes: causes(error), ..Fault::new(exit, error) }
    }

    /// A failure of ours that an error caused.
    pub fn caused(exit: Exit, message: impl Display, error: &(dyn Error + 'static)) -> Self {
        let mut all = vec![error.to_string()];
        all.extend(causes(error));
        Fault { causes: all, ..Fault::new(exit, message) }
    }

    /// Adds the hint.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds a hint if there is one.
    pub fn hint_if(mut self, hint: Option<impl Display>) -> Self {
        if let Some(hint) = hint {
            self.hint = Some(hint.to_string());
        }
        self
    }
}

/// The messages below an error, each once: wrappers often repeat the sentence of what they wrap.
fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if text != last {
            list.push(text.clone());
        }
        last = text;
        next = cause.source();
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the plan")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_are_listed_once_each() {
        let inner = std::io::Error::other("disk on fire");
        let fault = Fault::from_error(Exit::Failed, &Outer(inner));
        assert_eq!(fault.message, "cannot write the plan");
        // `io::Error::other` wraps its text and repeats it as its own source.
        assert_eq!(fault.causes, ["disk on fire"]);
    }
}
