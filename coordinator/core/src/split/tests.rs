//! Choices for LTX-Video 13B in bf16, 768x512 with 121 frames, on the devices that studios have.

use super::*;

const GIB: u64 = 1 << 30;

/// The published layout: what its card says.
fn large() -> Shape {
    Shape {
        text: 4_762_310_656,
        blocks: 12_889_423_872,
        rest: 153_145_472,
        decoder: 552_814_641,
        layers: 48,
        heads: 32,
        text_heads: 64,
        width: 4_096,
        channels: 128,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        decoded_per_pixel: 8,
    }
}

fn shot() -> Shot {
    Shot { width: 768, height: 512, frames: 121, is_guided: true, text_tokens: 128 }
}

fn link(name: &str, gb_per_s: f64, latency_us: f64) -> Link {
    Link { name: name.to_owned(), bytes_per_s: gb_per_s * 1e9, latency_s: latency_us * 1e-6 }
}

fn host(name: &str, devices: u32, memory_gib: u64, link: Link) -> Host {
    Host { name: name.to_owned(), devices, memory_bytes: memory_gib * GIB, flops: 100e12, link }
}

fn fleet(hosts: Vec<Host>) -> Fleet {
    Fleet { hosts, between: link("10 GbE", 1.15, 150.0), number_bytes: 2 }
}

fn pcie() -> Link {
    link("PCIe 4", 25.0, 40.0)
}

fn way(choice: &Choice) -> (Option<Mode>, u32) {
    let chosen = choice.chosen.as_ref().unwrap_or_else(|| panic!("{:#?}", choice.words));
    (chosen.mode, chosen.ranks)
}

/// One line of the words that has `text`.
fn says(choice: &Choice, text: &str) {
    assert!(choice.words.iter().any(|line| line.contains(text)), "{text}: {:#?}", choice.words);
}

#[test]
fn in_one_host_two_devices_split_the_heads() {
    for (link, name) in [(pcie(), "PCIe 4"), (link("NVLink", 400.0, 20.0), "NVLink")] {
        let choice = choose(&large(), &shot(), &fleet(vec![host("ws", 2, 24, link)]), 1_000, None);
        println!("{name}: {:#?}", choice.words);
        assert_eq!(way(&choice), (Some(Mode::Tensor), 2), "{name}");
        says(&choice, "not whole on a device of ws");
        says(&choice, "not layers over 2 devices");
    }
}

#[test]
fn between_hosts_on_ethernet_two_devices_split_the_layers() {
    let hosts = ["a", "b"].map(|name| host(name, 1, 24, pcie())).to_vec();
    let choice = choose(&large(), &shot(), &fleet(hosts), 1_000, None);
    println!("{:#?}", choice.words);
    assert_eq!(way(&choice), (Some(Mode::Layers), 2));
    says(&choice, "not tensor over 2 devices, 2 hosts over 10 GbE: moving takes");
}

#[test]
fn what_is_slow_is_had_by_those_who_insist() {
    let hosts = ["a", "b"].map(|name| host(name, 1, 24, pcie())).to_vec();
    let choice = choose(&large(), &shot(), &fleet(hosts), 1_000, Some(Mode::Tensor));
    assert_eq!(way(&choice), (Some(Mode::Tensor), 2));
}

#[test]
fn what_fits_a_device_is_not_split_unless_devices_stand_idle() {
    let hosts = ["a", "b"].map(|name| host(name, 1, 80, pcie())).to_vec();
    let many = choose(&large(), &shot(), &fleet(hosts.clone()), 1_000, None);
    assert_eq!(way(&many), (None, 1));
    let one = choose(&large(), &shot(), &fleet(hosts.clone()), 1, None);
    assert_eq!(way(&one), (Some(Mode::Guidance), 2));
    let unguided = Shot { is_guided: false, ..shot() };
    assert_eq!(way(&choose(&large(), &unguided, &fleet(hosts), 1, None)), (None, 1));
}

#[test]
fn what_fits_nowhere_says_what_it_would_need() {
    let choice = choose(&large(), &shot(), &fleet(vec![host("ws", 2, 8, pcie())]), 1, None);
    assert_eq!(choice.chosen, None);
    says(&choice, "of a device's 8.0 GiB");
    says(&choice, "nothing fits");
}

/// A split costs what the published tables of such splits say.
#[test]
fn the_bytes_of_a_split_are_those_of_the_arithmetic_by_hand() {
    let unguided = Shot { is_guided: false, ..shot() };
    let choice =
        choose(&large(), &unguided, &fleet(vec![host("ws", 4, 16, pcie())]), 1_000, Some(Mode::Tensor));
    let chosen = choice.chosen.expect("it fits");
    // 3 sums of 6144 x 4096 x 2 bytes in each of 48 layers, of which a rank of 4 sends twice three quarters.
    let activations = 3.0 * 48.0 * 50_331_648.0 * 1.5;
    assert_eq!(chosen.ranks, 4);
    assert!((chosen.sent_bytes / activations - 1.0).abs() < 0.01, "{}", chosen.sent_bytes);
}

#[test]
fn a_rank_of_a_split_needs_less_and_the_estimate_says_of_what() {
    let alone = large().need(&shot(), Mode::Tensor, 1, 2);
    assert_eq!(alone.weights / 1_000_000_000, 36);
    for mode in [Mode::Tensor, Mode::Layers] {
        let halved = large().need(&shot(), mode, 2, 2);
        // What is not split is on both.
        let split = large().text + large().blocks;
        let whole = 2 * (large().rest + large().decoder);
        assert!(halved.weights <= split + whole, "{halved:?}");
    }
}
