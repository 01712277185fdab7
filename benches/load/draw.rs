//! Chance, repeatable: object sizes and which key comes next.

use std::fmt;
use std::str::FromStr;

/// A well mixed function of `x` (the finalizer of splitmix64). Objects derive their size and content from their
/// number with it, so nothing about them needs to be remembered.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of the bits as a number in `[0, 1)`.
fn unit(bits: u64) -> f64 {
    (mix(bits) >> 11) as f64 / (1u64 << 53) as f64
}

/// A small generator, one for each client, so that clients share nothing.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same sequence.
    pub fn new(seed: u64) -> Self {
        Random(mix(seed))
    }

    /// The next number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        unit(self.0)
    }

    /// The next number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.unit() * bound as f64) as u64).min(bound - 1)
    }
}

/// The sizes of a step's bodies in bytes: all `min`, or drawn between the two so that every octave is as likely as
/// every other (artifacts and cache entries are spread like that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// The smallest body.
    pub min: u64,
    /// The largest body.
    pub max: u64,
}

impl Sizes {
    /// The size of object `number`.
    pub fn of(&self, number: u64) -> u64 {
        if self.min == self.max {
            return self.min;
        }
        let (low, high) = ((self.min.max(1) as f64).ln(), (self.max as f64).ln());
        let size = (low + unit(number ^ 0x512e) * (high - low)).exp();
        (size as u64).clamp(self.min, self.max)
    }

    /// The average size, to turn a budget of bytes into a number of objects.
    pub fn mean(&self) -> u64 {
        if self.min == self.max {
            return self.min;
        }
        let (low, high) = (self.min.max(1) as f64, self.max as f64);
        ((high - low) / (high / low).ln()) as u64
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| text.parse::<bytesize::ByteSize>().map(|size| size.as_u64());
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (size(min)?, size(max)?),
            None => (size(text)?, size(text)?),
        };
        if min > max || max > 1 << 40 {
            return Err(format!("{text} is no range of sizes up to 1 TiB"));
        }
        Ok(Sizes { min, max })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", short(self.min))?;
        if self.min != self.max {
            write!(f, "..{}", short(self.max))?;
        }
        Ok(())
    }
}

/// `4KiB`: a size without a space, in the largest unit that divides it.
fn short(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// How popular keys are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Every key as often as every other.
    Uniform,
    /// The key of rank r in proportion to r^-s.
    Zipf(f64),
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Popularity::Uniform),
            None if text == "zipf" => Ok(Popularity::Zipf(0.99)),
            Some(("zipf", s)) => match s.parse::<f64>() {
                Ok(s) if s.is_finite() && s > 0.0 => Ok(Popularity::Zipf(s)),
                _ => Err(format!("{s} is no exponent above zero")),
            },
            _ => Err("expected uniform, zipf or zipf:EXPONENT".into()),
        }
    }
}

/// Draws keys `0..count`.
#[derive(Debug)]
pub struct Keys {
    count: u64,
    /// Of each rank, the share of draws that fall on it or on a lower one; empty when uniform.
    cumulative: Vec<f64>,
}

impl Keys {
    /// Prepares to draw among `count` keys (at least one).
    pub fn new(popularity: Popularity, count: u64) -> Self {
        let Popularity::Zipf(s) = popularity else {
            return Keys {
                count,
                cumulative: Vec::new(),
            };
        };
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-s);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|share| *share /= sum);
        Keys { count, cumulative }
    }

    /// The next key.
    pub fn draw(&self, random: &mut Random) -> u64 {
        if self.cumulative.is_empty() {
            return random.below(self.count);
        }
        let at = random.unit();
        (self.cumulative.partition_point(|share| *share <= at) as u64).min(self.count - 1)
    }
}
