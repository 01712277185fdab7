//! The decision as a table, and what must hold for any rules and versions.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::artifact::retention::Rules;
use crate::store::model::RetentionRule;

const DAY: Millis = 86_400_000;
const NOW: Millis = 1000 * DAY;

#[derive(Clone, Debug)]
struct Given {
    name: &'static str,
    age: Millis,
    used: Option<Millis>,
    pinned: bool,
}

/// A version of this age in days.
fn version(name: &'static str, days: Millis) -> Given {
    Given {
        name,
        age: days * DAY,
        used: None,
        pinned: false,
    }
}

fn rule() -> RetentionRule {
    RetentionRule {
        packages: "*".into(),
        ..RetentionRule::default()
    }
}

fn globs(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Judges versions that are given from the newest to the oldest.
fn judge(rules: Vec<RetentionRule>, versions: &[Given]) -> Vec<Verdict> {
    let rules = Rules::of_owner("ci", rules).unwrap();
    let mut judge = Judge::new(rules.of_package("ci", "app"), Vec::new(), NOW);
    let facts = |given: &Given| Facts {
        name: given.name,
        created: NOW - given.age,
        last_used: given.used.map(|ago| NOW - ago),
        is_pinned: given.pinned,
    };
    versions.iter().map(|given| judge.judge(facts(given))).collect()
}

fn expired(rule: usize, days_ago: Millis) -> Verdict {
    let since = NOW - days_ago * DAY;
    Verdict::Expired { rule, since }
}

fn due(rule: usize, in_days: Millis) -> Verdict {
    let at = NOW + in_days * DAY;
    Verdict::Due { rule, at }
}

fn newest(rule: usize, place: u32) -> Verdict {
    Verdict::Newest { rule, place }
}

fn named(rule: usize, glob: &str) -> Verdict {
    let glob = glob.to_owned();
    Verdict::Named { rule, glob }
}

#[test]
fn the_table() {
    let pinned = |given: Given| Given {
        pinned: true,
        ..given
    };
    let used = |given: Given, days: Millis| Given {
        used: Some(days * DAY),
        ..given
    };
    let older = RetentionRule {
        older_than: Some(30 * DAY),
        ..rule()
    };
    let unused = RetentionRule {
        unused_for: Some(30 * DAY),
        ..rule()
    };
    let both = RetentionRule {
        unused_for: Some(10 * DAY),
        ..older.clone()
    };
    let newest_two = RetentionRule {
        keep_newest: Some(2),
        remove: globs(&["*"]),
        ..rule()
    };
    let nightlies = RetentionRule {
        keep_newest: Some(1),
        remove: globs(&["nightly-*"]),
        older_than: Some(7 * DAY),
        ..rule()
    };
    let releases = RetentionRule {
        keep: globs(&["rc*", "v*"]),
        ..rule()
    };
    let stays = Verdict::Unmentioned;
    for (what, rules, versions, verdicts) in [
        ("no rule", vec![], vec![version("1", 900)], vec![stays.clone()]),
        (
            "by age",
            vec![older.clone()],
            vec![version("2", 29), version("1", 30), version("0", 31)],
            vec![due(0, 1), expired(0, 0), expired(0, 1)],
        ),
        (
            "by use; what was never used counts from its creation",
            vec![unused],
            vec![
                used(version("3", 400), 29),
                used(version("2", 400), 31),
                version("1", 400),
                version("0", 3),
            ],
            vec![due(0, 1), expired(0, 1), expired(0, 370), due(0, 27)],
        ),
        (
            "of two conditions of one rule both must hold",
            vec![both],
            vec![
                used(version("2", 50), 4),
                used(version("1", 50), 25),
                used(version("0", 5), 5),
            ],
            vec![due(0, 6), expired(0, 15), due(0, 25)],
        ),
        (
            "the newest two, the pinned counted among them",
            vec![newest_two],
            vec![
                version("4", 1),
                pinned(version("3", 2)),
                version("2", 3),
                pinned(version("1", 4)),
            ],
            vec![newest(0, 1), Verdict::Pinned, expired(0, 3), Verdict::Pinned],
        ),
        (
            "the newest of those that may go",
            vec![nightlies.clone()],
            vec![
                version("v2", 1),
                version("nightly-3", 8),
                version("v1", 9),
                version("nightly-2", 10),
                version("NIGHTLY-1", 5),
            ],
            vec![
                stays.clone(),
                newest(0, 1),
                stays.clone(),
                expired(0, 3),
                due(0, 2),
            ],
        ),
        (
            "what one rule keeps no other removes",
            vec![nightlies, older, releases],
            vec![version("v1", 500), version("rc1", 500), version("x", 500)],
            vec![named(2, "v*"), named(2, "rc*"), expired(1, 470)],
        ),
        (
            "the earliest rule counts",
            vec![
                RetentionRule {
                    older_than: Some(90 * DAY),
                    ..rule()
                },
                RetentionRule {
                    older_than: Some(60 * DAY),
                    remove: globs(&["a*"]),
                    ..rule()
                },
            ],
            vec![version("a", 70), version("b", 70)],
            vec![expired(1, 10), due(0, 20)],
        ),
    ] {
        assert_eq!(judge(rules, &versions), verdicts, "{what}");
    }
}

#[test]
fn times_beyond_all_bounds_keep() {
    let rules = vec![RetentionRule {
        older_than: Some(Millis::MAX),
        ..rule()
    }];
    let verdicts = judge(rules, &[version("1", 5), version("0", -5)]);
    assert!(
        verdicts
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Due { .. })),
        "{verdicts:?}"
    );
}

const NAMES: [&str; 5] = ["v1", "v2", "nightly-1", "nightly-2", "x"];

fn some_rule() -> impl Strategy<Value = RetentionRule> {
    let lists = || prop::sample::subsequence(vec!["v*", "nightly-*", "x", "*"], 0..3);
    (
        prop::option::of(0_u32..4),
        lists(),
        lists(),
        prop::option::of(1_i64..60),
        prop::option::of(1_i64..60),
    )
        .prop_map(|(keep_newest, keep, remove, older, unused)| RetentionRule {
            packages: "*".into(),
            // A rule says something.
            keep_newest: keep_newest.or(Some(0)),
            keep: globs(&keep),
            remove: globs(&remove),
            older_than: older.map(|days| days * DAY),
            unused_for: unused.map(|days| days * DAY),
        })
}

fn some_versions() -> impl Strategy<Value = Vec<Given>> {
    let version = (
        0..NAMES.len(),
        0_i64..90,
        prop::option::of(0_i64..90),
        any::<bool>(),
    );
    prop::collection::vec(version, 0..20).prop_map(|versions| {
        let given = versions.into_iter().map(|(name, days, used, pinned)| Given {
            name: NAMES[name],
            age: days * DAY,
            used: used.map(|days| days * DAY),
            pinned,
        });
        given.collect()
    })
}

proptest! {
    #[test]
    fn no_rule_is_broken(rules in prop::collection::vec(some_rule(), 0..4), versions in some_versions()) {
        let verdicts = judge(rules.clone(), &versions);
        let checked = Rules::of_owner("ci", rules).unwrap();
        let checked = checked.of_package("ci", "app");
        for (at, (given, verdict)) in versions.iter().zip(&verdicts).enumerate() {
            let Verdict::Expired { rule, .. } = verdict else { continue };
            prop_assert!(!given.pinned);
            for (_, rule) in &checked {
                prop_assert!(rule.kept_by(given.name).is_none());
                let newer = versions[..at].iter().filter(|newer| rule.means(newer.name)).count();
                if rule.means(given.name) && let Some(kept) = rule.given.keep_newest {
                    prop_assert!(newer >= kept as usize, "one of the newest {kept} goes");
                }
            }
            let rule = &checked[*rule].1;
            prop_assert!(rule.removes() && rule.means(given.name));
            prop_assert!(rule.given.older_than.is_none_or(|span| given.age >= span));
            let idle = given.age.min(given.used.unwrap_or(given.age));
            prop_assert!(rule.given.unused_for.is_none_or(|span| idle >= span));
        }
    }

    /// Judging again what is left removes nothing more, so a pass may stop and begin anew at any place.
    #[test]
    fn a_second_pass_finds_nothing(rules in prop::collection::vec(some_rule(), 0..4), versions in some_versions()) {
        let verdicts = judge(rules.clone(), &versions);
        let goes = |verdict: &Verdict| matches!(verdict, Verdict::Expired { .. });
        let left: Vec<Given> = versions
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !goes(verdict))
            .map(|(given, _)| given)
            .collect();
        prop_assert!(!judge(rules, &left).iter().any(goes));
    }
}
