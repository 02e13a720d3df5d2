//! Reading part of the packs: one of `t` parts by name, so that `t` runs read everything once, or a
//! percentage chosen by a seed, so that a run can be done again.

use std::fmt;
use std::str::FromStr;

use crate::id::Id;

/// Which packs are read; restic's `--read-data-subset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// Part `number` (from 1) of `of` (at most 256): packs whose name's first byte leaves
    /// `number - 1` divided by `of`, as restic cuts them. Where none does, one of the others, each
    /// number its own as far as there are so many.
    Part {
        /// From 1.
        number: u16,
        /// At most 256.
        of: u16,
    },
    /// So many thousandths of the packs, rounded up.
    Sample {
        /// 1 to 1000.
        thousandths: u16,
        /// The same seed chooses the same of the same packs.
        seed: u64,
    },
}

/// A text that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a part like 2/5 (of at most 256) nor a percentage like 2.5%")]
pub struct ParseSubsetError(String);

impl FromStr for Subset {
    type Err = ParseSubsetError;

    /// `n/t`, `P%` or `P%@SEED`; without a seed it is 0.
    fn from_str(text: &str) -> Result<Self, ParseSubsetError> {
        let bad = || ParseSubsetError(text.to_owned());
        if let Some((number, of)) = text.split_once('/') {
            let number: u16 = number.trim().parse().map_err(|_| bad())?;
            let of: u16 = of.trim().parse().map_err(|_| bad())?;
            let fits = number >= 1 && number <= of && of <= 256;
            return if fits { Ok(Subset::Part { number, of }) } else { Err(bad()) };
        }
        let (percent, seed) = text.split_once('%').ok_or_else(bad)?;
        let seed = match seed.strip_prefix('@') {
            Some(seed) => seed.trim().parse().map_err(|_| bad())?,
            None if seed.is_empty() => 0,
            None => return Err(bad()),
        };
        let percent: f64 = percent.trim().parse().map_err(|_| bad())?;
        let thousandths = (percent * 10.0).round();
        if !(1.0..=1000.0).contains(&thousandths) {
            return Err(bad());
        }
        Ok(Subset::Sample { thousandths: thousandths as u16, seed })
    }
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subset::Part { number, of } => write!(f, "{number}/{of}"),
            Subset::Sample { thousandths, seed } => {
                write!(f, "{}%@{seed}", f64::from(*thousandths) / 10.0)
            }
        }
    }
}

impl Subset {
    /// The items that belong to the subset, in their order; of any, one at least. Whether that one
    /// only stands in for a part that holds none.
    pub fn choose<T>(&self, items: Vec<T>, name: impl Fn(&T) -> Id) -> (Vec<T>, bool) {
        let chosen = match *self {
            Subset::Part { number, of } => {
                let belongs = |item: &T| u16::from(name(item).as_bytes()[0]) % of == number - 1;
                if !items.iter().any(belongs) {
                    let mut names: Vec<Id> = items.iter().map(&name).collect();
                    names.sort_unstable();
                    let nth = usize::from(number - 1).checked_rem(names.len());
                    let stand_in = nth.map(|nth| names[nth]);
                    let one: Vec<T> =
                        items.into_iter().filter(|item| Some(name(item)) == stand_in).collect();
                    let stands_in = !one.is_empty();
                    return (one, stands_in);
                }
                items.into_iter().filter(belongs).collect()
            }
            Subset::Sample { thousandths, seed } => {
                let count = (items.len() * usize::from(thousandths)).div_ceil(1000);
                // Each name gets a number that the seed decides; the lowest are taken.
                let draw =
                    |item: &T| Id::of_parts([&seed.to_le_bytes()[..], &name(item).as_bytes()[..]]);
                let mut draws: Vec<Id> = items.iter().map(draw).collect();
                draws.sort_unstable();
                let chosen = &draws[..count];
                items.into_iter().filter(|item| chosen.binary_search(&draw(item)).is_ok()).collect()
            }
        };
        (chosen, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Id> {
        (0..500u32).map(|n| Id::of(&n.to_le_bytes())).collect()
    }

    #[test]
    fn texts() {
        assert_eq!("2/5".parse(), Ok(Subset::Part { number: 2, of: 5 }));
        let sample = Subset::Sample { thousandths: 25, seed: 7 };
        assert_eq!("2.5%@7".parse(), Ok(sample));
        assert_eq!(sample.to_string().parse(), Ok(sample));
        assert_eq!("100%".parse(), Ok(Subset::Sample { thousandths: 1000, seed: 0 }));
        let bad =
            ["", "5", "0/5", "6/5", "1/257", "0%", "101%", "-1%", "2%x", "1%@", "a/b", "nan%"];
        for text in bad {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_parts_together_are_all() {
        let mut seen = Vec::new();
        for number in 1..=7 {
            let (part, stands_in) = Subset::Part { number, of: 7 }.choose(names(), |id| *id);
            assert!(!stands_in);
            seen.extend(part);
        }
        seen.sort_unstable();
        let mut all = names();
        all.sort_unstable();
        assert_eq!(seen, all);
    }

    /// The nights of a small vault: each reads something, and together everything.
    #[test]
    fn a_part_that_holds_nothing_takes_one_of_the_others() {
        let few = names()[..3].to_vec();
        let mut seen = Vec::new();
        for number in 1..=200 {
            let part = Subset::Part { number, of: 200 };
            let (chosen, stands_in) = part.choose(few.clone(), |id| *id);
            let belongs = |id: &Id| u16::from(id.as_bytes()[0]) % 200 == number - 1;
            assert_eq!(stands_in, !few.iter().any(belongs), "{part}");
            assert!(!chosen.is_empty() && (stands_in || chosen.iter().all(belongs)), "{part}");
            assert!(!stands_in || chosen.len() == 1, "{part}");
            if number <= 3 || !stands_in {
                seen.extend(chosen);
            }
        }
        assert!(few.iter().all(|id| seen.contains(id)));
        let none: (Vec<Id>, bool) = Subset::Part { number: 1, of: 2 }.choose(vec![], |id| *id);
        assert_eq!(none, (vec![], false), "of nothing nothing");
    }

    #[test]
    fn a_seed_chooses_always_the_same_and_another_others() {
        let choose =
            |seed, thousandths| Subset::Sample { thousandths, seed }.choose(names(), |id| *id).0;
        assert_eq!(choose(1, 100).len(), 50);
        assert_eq!(choose(1, 1).len(), 1, "never nothing");
        assert_eq!(choose(1, 1000), names());
        assert_eq!(choose(1, 100), choose(1, 100));
        assert_ne!(choose(1, 100), choose(2, 100));
    }
}
