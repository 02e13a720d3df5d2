//! Progress of long runs on a terminal: bytes, rate and time left, one line a stage.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat_vault::{Monitor, Stage};

/// Draws on a terminal; elsewhere it only passes notes on.
pub struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
    stages: Mutex<[Option<ProgressBar>; 5]>,
    items: [AtomicU64; 5],
}

impl Progress {
    /// `live` draws, `quiet` says nothing at all.
    pub fn new(live: bool, quiet: bool) -> Self {
        let bars =
            live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Progress { bars, quiet, stages: Mutex::default(), items: Default::default() }
    }

    /// Removes the lines, so that what follows stands on a clean screen.
    pub fn clear(&self) {
        let mut stages = self.stages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for bar in stages.iter_mut().filter_map(Option::take) {
            bar.finish_and_clear();
        }
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn with_bar(&self, stage: Stage, act: impl FnOnce(&ProgressBar)) {
        let Some(bars) = &self.bars else { return };
        let mut stages = self.stages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(stages[place(stage)].get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(style(false));
            bar.set_prefix(word(stage));
            bar.enable_steady_tick(Duration::from_millis(125));
            bar
        }));
    }
}

impl Monitor for Progress {
    /// Components follow one another: their totals add up.
    fn total(&self, stage: Stage, bytes: u64, _items: u64) {
        self.with_bar(stage, |bar| {
            if bytes > 0 {
                bar.set_length(bar.length().unwrap_or(bar.position()) + bytes);
                bar.set_style(style(true));
            }
        });
    }

    fn advance(&self, stage: Stage, bytes: u64, items: u64) {
        let done = self.items[place(stage)].fetch_add(items, Ordering::Relaxed) + items;
        self.with_bar(stage, |bar| {
            bar.inc(bytes);
            // Not every component knows its size beforehand: no bar that is more than full.
            if bar.length().is_some_and(|length| bar.position() > length) {
                bar.unset_length();
                bar.set_style(style(false));
            }
            bar.set_message(crate::text::plural(done, "item", "items"));
        });
    }

    fn note(&self, line: &str) {
        if self.quiet {
            return;
        }
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => crate::screen::log_line(line),
        }
    }
}

fn place(stage: Stage) -> usize {
    match stage {
        Stage::Backup => 0,
        Stage::Restore => 1,
        Stage::Check => 2,
        Stage::Copy => 3,
        Stage::Prune => 4,
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Backup => "backup",
        Stage::Restore => "restore",
        Stage::Check => "verify",
        Stage::Copy => "copy",
        Stage::Prune => "prune",
    }
}

/// The rate and the time left are shown once a total is known.
fn style(known: bool) -> ProgressStyle {
    let template = if known {
        "{prefix:>8} {bar:28.cyan/dim} {binary_bytes} of {binary_total_bytes} \
         {binary_bytes_per_sec} {eta} left {msg:.dim}"
    } else {
        "{prefix:>8} {spinner} {binary_bytes} {binary_bytes_per_sec} {msg:.dim}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}
