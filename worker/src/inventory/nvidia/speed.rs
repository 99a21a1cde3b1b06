//! What devices deliver, for the choice of how a model is split. A start: measured paces decide where a clip goes.

/// By a part of the name: dense products of bf16 with sums in f32, 10^12 operations a second, as data sheets have them. Of
/// several that fit a name the longest counts.
const PEAK_TFLOPS: [(&str, u64); 40] = [
    ("A10", 125),
    ("A100", 312),
    ("A30", 165),
    ("A40", 150),
    ("B200", 2_250),
    ("B300", 2_250),
    ("H100", 989),
    ("H100 NVL", 835),
    ("H100 PCIe", 756),
    ("H20", 148),
    ("H200", 989),
    ("GH200", 989),
    ("L4", 121),
    ("L40", 181),
    ("L40S", 362),
    ("RTX 3060", 25),
    ("RTX 3070", 40),
    ("RTX 3080", 60),
    ("RTX 3080 Ti", 68),
    ("RTX 3090", 71),
    ("RTX 3090 Ti", 80),
    ("RTX 4060", 30),
    ("RTX 4060 Ti", 44),
    ("RTX 4070", 58),
    ("RTX 4070 Ti", 80),
    ("RTX 4080", 97),
    ("RTX 4080 SUPER", 104),
    ("RTX 4090", 165),
    ("RTX 5070", 62),
    ("RTX 5070 Ti", 88),
    ("RTX 5080", 113),
    ("RTX 5090", 210),
    ("RTX A4000", 77),
    ("RTX A5000", 111),
    ("RTX A6000", 155),
    ("RTX 4000 Ada", 107),
    ("RTX 5000 Ada", 261),
    ("RTX 6000 Ada", 364),
    ("RTX PRO 6000 Blackwell", 503),
    ("A800", 312),
];
/// Of the peak, what long products of the sizes that models have come to.
const DELIVERED: (u64, u64) = (1, 2);

/// Billions of operations a second; 0 for a device of which nothing is known.
pub(crate) fn gflops(name: &str) -> u64 {
    let named = PEAK_TFLOPS.iter().filter(|(part, _)| has_words(name, part));
    let (_, tflops) = named.max_by_key(|(part, _)| part.len()).unwrap_or(&("", 0));
    tflops * 1_000 * DELIVERED.0 / DELIVERED.1
}

/// Whether `part` is in `name` with no letter or digit beside it, so that L4 is not L40.
fn has_words(name: &str, part: &str) -> bool {
    name.match_indices(part).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at + part.len()..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_by_whole_words_and_the_longest_counts() {
        assert_eq!(gflops("NVIDIA H100 80GB HBM3"), 494_500);
        assert_eq!(gflops("NVIDIA H100 PCIe"), 378_000);
        assert_eq!(gflops("NVIDIA L40S"), 181_000);
        assert_eq!(gflops("NVIDIA L4"), 60_500);
        assert_eq!(gflops("NVIDIA GeForce RTX 4070 Ti"), 40_000);
        assert_eq!(gflops("NVIDIA A100-SXM4-80GB"), 156_000);
        assert_eq!(gflops("NVIDIA GeForce GTX 1080"), 0);
        assert_eq!(gflops(""), 0);
    }
}
