//! Where a store counts as full, and where it has room again: plain arithmetic over its limit and its disk.

/// Bytes that uploads leave to the index and to removals, of the limit as of the disk; less where either is small.
const KEPT: u64 = 4 << 20;
/// Of a small limit or disk this part is kept at most.
const KEPT_PART: u64 = 16;
/// A large disk need not have more than this free to be below the high watermark, bytes.
const MOST_FREE_AT_HIGH: u64 = 4 << 30;
/// The same for the low watermark, bytes.
const MOST_FREE_AT_LOW: u64 = 6 << 30;
/// Inodes that are left to the index, to sealing and to removals.
pub const KEPT_INODES: u64 = 16;

/// How much a store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of log files; `None`: the disk decides.
    pub max_size: Option<u64>,
    /// Percent of the limit, or of the disk, from which on uploads are refused.
    pub high: u8,
    /// Percent below which they are taken again.
    pub low: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_size: None,
            high: 90,
            low: 85,
        }
    }
}

/// What the disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the file system.
    pub size: u64,
    /// Bytes that we may still write.
    pub free: u64,
    /// Files that may still be created; `u64::MAX` where the file system does not count them.
    pub inodes: u64,
}

/// How far along what asks for room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of a body: all that is kept stays untouched.
    Body,
    /// A publication whose body has been taken in: it may use half of what is kept, so that an upload does not fail
    /// at its last step for the sake of a few bytes.
    Commit,
}

/// Why an upload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It would go beyond `max_size`.
    Limit,
    /// The store is above its high watermark, or was and is not yet below the low one.
    Watermark,
    /// The disk has too little left.
    Disk,
    /// The disk has too few inodes left.
    Inodes,
    /// A write has just failed for want of space, whatever the disk says it has: a quota, perhaps.
    Write,
}

impl Limits {
    /// Whether `bytes` more fit at all, next to `used`. What is kept for removals and the index counts as taken.
    pub fn fits(&self, step: Step, used: u64, bytes: u64, disk: Disk) -> Result<(), Reason> {
        let kept = |size| match step {
            Step::Body => kept(size),
            Step::Commit => kept(size) / 2,
        };
        if let Some(limit) = self.max_size
            && used.saturating_add(bytes) > limit - kept(limit)
        {
            return Err(Reason::Limit);
        }
        if disk.inodes < KEPT_INODES {
            return Err(Reason::Inodes);
        }
        if disk.free < bytes.saturating_add(kept(disk.size)) {
            return Err(Reason::Disk);
        }
        Ok(())
    }

    /// Whether the store is above the high watermark.
    pub fn above_high(&self, used: u64, disk: Disk) -> bool {
        self.excess(used, disk, self.high, MOST_FREE_AT_HIGH) > 0
    }

    /// Whether the store is halfway from the low watermark to the high one, or beyond: caches give way from here on, so
    /// that uploads are not refused.
    pub fn is_pressed(&self, used: u64, disk: Disk) -> bool {
        let halfway = u8::midpoint(self.low, self.high);
        self.excess(
            used,
            disk,
            halfway,
            u64::midpoint(MOST_FREE_AT_LOW, MOST_FREE_AT_HIGH),
        ) > 0
    }

    /// Bytes that have to go before the store is below the low watermark: what collection and eviction aim at.
    pub fn above_low(&self, used: u64, disk: Disk) -> u64 {
        self.excess(used, disk, self.low, MOST_FREE_AT_LOW)
    }

    fn excess(&self, used: u64, disk: Disk, percent: u8, most_free: u64) -> u64 {
        let of_limit = self.max_size.map_or(0, |limit| {
            used.saturating_sub(limit - headroom(limit, percent).max(kept(limit)))
        });
        let wanted = headroom(disk.size, percent).min(most_free).max(kept(disk.size));
        of_limit.max(wanted.saturating_sub(disk.free))
    }
}

/// What is left of `size` at `percent`.
fn headroom(size: u64, percent: u8) -> u64 {
    // A hundredth first, so that no size overflows.
    size / 100 * u64::from(100_u8.saturating_sub(percent))
}

/// What uploads leave of a limit or disk of `size` bytes.
pub fn kept(size: u64) -> u64 {
    (size / KEPT_PART).min(KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn disk(size: u64, free: u64) -> Disk {
        Disk {
            size,
            free,
            inodes: u64::MAX,
        }
    }

    const HUGE: Disk = Disk {
        size: 1 << 50,
        free: 1 << 49,
        inodes: u64::MAX,
    };

    #[test]
    fn some_of_the_limit_and_of_the_disk_is_kept() {
        let limits = Limits {
            max_size: Some(64 * MIB),
            ..Limits::default()
        };
        assert_eq!(limits.fits(Step::Body, 50 * MIB, 10 * MIB, HUGE), Ok(()));
        assert_eq!(
            limits.fits(Step::Body, 50 * MIB, 10 * MIB + 1, HUGE),
            Err(Reason::Limit)
        );
        assert_eq!(limits.fits(Step::Body, 0, u64::MAX, HUGE), Err(Reason::Limit));
        let limits = Limits::default();
        assert_eq!(limits.fits(Step::Body, u64::MAX, MIB, disk(GIB, 5 * MIB)), Ok(()));
        assert_eq!(
            limits.fits(Step::Body, 0, MIB, disk(GIB, 5 * MIB - 1)),
            Err(Reason::Disk)
        );
        // A sixteenth of a small disk is enough.
        assert_eq!(limits.fits(Step::Body, 0, MIB, disk(16 * MIB, 2 * MIB)), Ok(()));
        assert_eq!(limits.fits(Step::Body, 0, u64::MAX, HUGE), Err(Reason::Disk));
        assert_eq!(limits.fits(Step::Commit, 0, MIB, disk(GIB, 3 * MIB)), Ok(()));
        let few = Disk {
            inodes: KEPT_INODES - 1,
            ..HUGE
        };
        assert_eq!(limits.fits(Step::Body, 0, 0, few), Err(Reason::Inodes));
    }

    #[test]
    fn watermarks_are_percent_of_the_limit() {
        let limits = Limits {
            max_size: Some(1000 * MIB),
            high: 80,
            low: 50,
        };
        assert!(!limits.above_high(800 * MIB, HUGE));
        assert!(limits.above_high(800 * MIB + 1, HUGE));
        assert!(!limits.is_pressed(650 * MIB, HUGE));
        assert!(limits.is_pressed(650 * MIB + 1, HUGE));
        assert_eq!(limits.above_low(500 * MIB, HUGE), 0);
        assert_eq!(limits.above_low(700 * MIB, HUGE), 200 * MIB);
    }

    #[test]
    fn watermarks_are_percent_of_the_disk_but_leave_no_more_than_a_few_gib_unused() {
        let limits = Limits::default();
        assert!(!limits.above_high(0, disk(1000 * MIB, 100 * MIB)));
        assert!(limits.above_high(0, disk(1000 * MIB, 100 * MIB - 1)));
        assert_eq!(limits.above_low(0, disk(1000 * MIB, 100 * MIB)), 50 * MIB);
        assert!(!limits.above_high(0, disk(8000 * GIB, 4 * GIB)));
        assert!(limits.above_high(0, disk(8000 * GIB, 4 * GIB - 1)));
        assert_eq!(limits.above_low(0, disk(8000 * GIB, 5 * GIB)), GIB);
    }

    #[test]
    fn at_100_percent_the_kept_room_is_the_mark() {
        let limits = Limits {
            max_size: Some(100 * MIB),
            high: 100,
            low: 99,
        };
        assert!(!limits.above_high(96 * MIB, HUGE));
        assert!(limits.above_high(96 * MIB + 1, HUGE));
    }
}
