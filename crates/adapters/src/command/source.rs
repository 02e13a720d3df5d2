//! The capture: what `dump` prints, if it ends well and printed something.

use std::process::Stdio;

use lifeboat_model::manifest::{CommandContent, Content, FORMAT, Manifest};
use lifeboat_recovery::ports::{Capture, CaptureContext, Source, SourceError};
use lifeboat_vault::BackupSession;

use super::CommandOptions;
use crate::piped::Piped;
use crate::printed;

/// What a command prints.
pub struct CommandSource {
    options: CommandOptions,
}

impl CommandSource {
    /// Reads by `options`.
    pub fn new(options: CommandOptions) -> CommandSource {
        CommandSource { options }
    }
}

impl Source for CommandSource {
    fn capture(
        &mut self,
        session: &mut BackupSession,
        context: &CaptureContext<'_>,
    ) -> Result<Capture, SourceError> {
        let started = context.clock.wall();
        let options = &self.options;
        let mut command = options.command(&options.dump)?;
        command.stdin(Stdio::null());
        let running = Piped::start(command, options.run("dump", context.clock, context.cancel))?;
        let name = format!("{}.dump", options.component);
        let printed = printed::store(session, &name, running, context)?;
        if printed.bytes == 0 {
            return Err(SourceError::Unfit {
                what: format!("`dump` of {} ended well and printed nothing", options.component),
                hint: "it must print the data: a dump that goes to a file ends with `cat FILE`"
                    .to_owned(),
            });
        }
        let manifest = Manifest {
            format: FORMAT,
            component: options.component.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: context.host.to_owned(),
            started,
            finished: context.clock.wall(),
            position: None,
            content: Content::Command(CommandContent { printed }),
        };
        Ok(Capture { manifest, complete_up_to: started, blocked: None })
    }
}
