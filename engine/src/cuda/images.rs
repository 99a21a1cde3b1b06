//! The kernels that come with the program.

/// One source for one architecture.
pub(super) struct Image {
    pub(super) module: &'static str,
    /// Of the compute capability `10 * major + minor`; none for PTX, which the driver compiles.
    pub(super) architecture: Option<u32>,
    pub(super) bytes: &'static [u8],
}

pub(super) const IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// What a device of compute capability `of` loads: machine code of the newest architecture of its generation that is not newer
/// than itself, or else PTX.
pub(super) fn images(of: u32) -> Vec<&'static Image> {
    let mut chosen: Vec<&Image> = Vec::new();
    for image in IMAGES {
        let runs = |architecture: u32| architecture / 10 == of / 10 && architecture <= of;
        // Machine code with Hopper's own instructions runs on Hopper alone.
        let fits = match image.architecture {
            Some(architecture) if image.module.ends_with("_sm90") => architecture == of,
            Some(architecture) => runs(architecture),
            None => true,
        };
        if !fits {
            continue;
        }
        match chosen.iter_mut().find(|other| other.module == image.module) {
            Some(other) if other.architecture < image.architecture => *other = image,
            Some(_) => {}
            None => chosen.push(image),
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_there_for_every_architecture() {
        let names: std::collections::BTreeSet<_> = IMAGES.iter().map(|image| image.module).collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            let of_it: Vec<_> = IMAGES.iter().filter(|image| image.module == name).collect();
            let found: Vec<_> = of_it.iter().map(|image| image.architecture).collect();
            let all = [Some(80), Some(86), Some(89), Some(90), Some(120), None];
            let expected: &[_] = if name.ends_with("_sm90") { &all[3..4] } else { &all };
            assert_eq!(found, expected, "{name}");
            for image in of_it {
                match image.architecture {
                    Some(_) => assert_eq!(image.bytes[..4], *b"\x7fELF", "{name}"),
                    None => assert!(image.bytes.ends_with(b"\0"), "{name}: the driver reads to a zero"),
                }
            }
        }
    }

    #[test]
    fn a_device_gets_the_newest_code_that_it_runs() {
        let of = |capability| images(capability).iter().find(|i| i.module == "norm").map(|i| i.architecture);
        assert_eq!(of(80), Some(Some(80)));
        assert_eq!(of(87), Some(Some(86)));
        assert_eq!(of(89), Some(Some(89)));
        assert_eq!(of(90), Some(Some(90)));
        assert_eq!(of(100), Some(None), "a generation without code of its own gets PTX");
        assert_eq!(of(121), Some(Some(120)));
        assert!(images(100).iter().all(|image| !image.module.ends_with("_sm90")));
    }
}
