//! How long ranges took from their receipt to a tier: counted by milliseconds, in bounded memory.

use std::time::Duration;

/// Counts up to this are exact; all above are counted together.
const EXACT: usize = 10_000;

/// A histogram of spans.
#[derive(Debug, Clone)]
pub struct Lag {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Lag {
    fn default() -> Lag {
        Lag { counts: vec![0; EXACT + 1], count: 0, max: Duration::ZERO }
    }
}

impl Lag {
    /// Counts one.
    pub fn add(&mut self, span: Duration) {
        let at = usize::try_from(span.as_millis()).unwrap_or(EXACT).min(EXACT);
        self.counts[at] += 1;
        self.count += 1;
        self.max = self.max.max(span);
    }

    /// So many of a thousand took at most this; nothing where nothing was counted.
    pub fn within(&self, thousandths: u64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let wanted = (self.count * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                // Of those above the exact part only the longest is known.
                let upper = Duration::from_millis(at as u64 + 1);
                return Some(if at == EXACT { self.max } else { upper.min(self.max) });
            }
        }
        Some(self.max)
    }

    /// The longest.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_asked_for_is_within() {
        let mut lag = Lag::default();
        assert_eq!((lag.within(990), lag.max()), (None, None));
        for ms in 1..=1000 {
            lag.add(Duration::from_millis(ms));
        }
        assert_eq!(lag.within(500), Some(Duration::from_millis(501)));
        assert_eq!(lag.within(990), Some(Duration::from_millis(991)));
        assert_eq!(lag.max(), Some(Duration::from_secs(1)));
        lag.add(Duration::from_secs(60));
        assert_eq!((lag.within(1000), lag.max()), (Some(Duration::from_secs(60)), lag.max()));
    }
}
