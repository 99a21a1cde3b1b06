//! Broken texts by the thousand, each from its number: whatever stands in a spec, reading it ends, in words.

use std::collections::BTreeMap;

use crate::{
    plan::Plan,
    spec::{Source, parse},
};

const GOOD: &str = include_str!("../../../../../examples/campaign.yaml");
/// Half a million were read once; these are read every time.
const TEXTS: u64 = 5_000;
/// What is put into a good text: signs that mean something, numbers at their ends, and other keys.
const SCRAPS: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "-",
    "\n",
    "  ",
    "\"",
    "'",
    "*",
    "&",
    "#",
    "{{",
    "}}",
    "{seed}",
    "(",
    ")",
    "|",
    "\t",
    "\u{0}",
    "é",
    "0",
    "-1",
    "18446744073709551615",
    "9223372036854775807",
    "1e999",
    ".nan",
    "..",
    "seed",
    "range: 1-9:2",
];

/// Numbers that follow from each other (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

fn broken(number: u64) -> String {
    let mut numbers = Numbers(number);
    let mut text = GOOD.to_owned();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(text.len());
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (at + numbers.below(12)).min(text.len());
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(at);
        match numbers.below(3) {
            0 => text.replace_range(at..end, ""),
            1 => text.insert_str(at, SCRAPS[numbers.below(SCRAPS.len())]),
            _ => text.replace_range(at..end, SCRAPS[numbers.below(SCRAPS.len())]),
        }
    }
    text
}

#[test]
fn whatever_stands_in_a_spec_it_is_read_or_refused_in_words() {
    let (mut good, mut bad) = (0, 0);
    let card = crate::plan::tests::card("builtin://shapes");
    for number in 0..TEXTS {
        let text = broken(number);
        let files = BTreeMap::new();
        let planned =
            parse(&Source { name: "test.yaml", text: &text, files: &files, set: &[] }).and_then(|spec| {
                let cards = spec.models().into_iter().map(|model| (model, card.clone())).collect();
                Plan::new(spec, &cards)
            });
        match planned {
            Ok(plan) => {
                good += 1;
                let job = crate::ids::JobId::new("other").expect("a name");
                let last = plan.layers()[0].tasks - 1;
                assert!(!plan.recipe(&job, 0, last).output.sidecar.is_empty(), "{text}");
            }
            Err(problems) => {
                bad += 1;
                let is_told =
                    |p: &super::Problem| !p.message.is_empty() && !p.remedy.is_empty() && p.line > 0;
                assert!(problems.iter().all(is_told), "{text}\n{problems:?}");
            }
        }
    }
    assert!(good > 50 && bad > 1000, "{good} good and {bad} bad texts");
}
