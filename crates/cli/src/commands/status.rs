//! `lifeboat status`.

use lifeboat_model::exit::Exit;
use lifeboat_recovery::flows;

use crate::args::Status;
use crate::fault::Outcome;
use crate::hands::Hands;
use crate::render;
use crate::screen::Reply;

/// `lifeboat status`: always 0, but for `--check`.
pub fn status(args: &Status, hands: &Hands<'_>) -> Outcome<Reply> {
    let wired = hands.look()?;
    wired.say_not_carried_out(hands.screen);
    if let Some(fault) = &wired.no_key {
        hands.screen.note(format!("note: {}", fault.message));
    }
    let report = flows::status(&wired.world)?;
    let text = render::status(&report, hands.screen);
    let exit = if args.check { report.check_exit() } else { Exit::Done };
    Reply::new(exit, "status", &report, text)
}
