//! Choices for LTX-Video 13B in bf16, 768x512 with 121 frames, on the devices that studios have.

use super::*;

const GIB: u64 = 1 << 30;

/// The published layout: what its card says.
pub(super) fn large() -> Shape {
    Shape {
        text: 4_762_310_656,
        blocks: 12_889_423_872,
        rest: 153_145_472,
        decoder: 552_814_641,
        layers: 48,
        heads: 32,
        text_heads: 64,
        text_layers: 24,
        width: 4_096,
        channels: 128,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        decoded_per_pixel: 8,
    }
}

pub(super) fn shot() -> Shot {
    Shot { width: 768, height: 512, frames: 121, is_guided: true, text_tokens: 128, is_tiled: false }
}

fn link(name: &str, gb_per_s: f64, latency_us: f64) -> Link {
    Link { name: name.to_owned(), bytes_per_s: gb_per_s * 1e9, latency_s: latency_us * 1e-6 }
}

fn host(name: &str, devices: usize, memory_gib: u64, link: Link) -> Host {
    Host { link, ..Host::new(name, Kind::Gpu, vec![memory_gib * GIB; devices]) }
}

fn fleet(hosts: Vec<Host>) -> Fleet {
    Fleet { hosts, between: link("10 GbE", 1.15, 150.0) }
}

fn pcie() -> Link {
    link("PCIe 4", 25.0, 40.0)
}

/// One device each.
fn two_hosts(memory_gib: u64) -> Fleet {
    fleet(["a", "b"].map(|name| host(name, 1, memory_gib, pcie())).to_vec())
}

fn way(choice: &Choice) -> (Option<Mode>, u32, Residency) {
    let chosen = choice.chosen.as_ref().unwrap_or_else(|| panic!("{:#?}", choice.words));
    (chosen.mode, chosen.ranks, chosen.deal.residency)
}

fn any(fleet: &Fleet, shots: u64) -> Choice {
    choose(&large(), &shot(), fleet, shots, Wish::default())
}

fn by(mode: Mode) -> Wish {
    Wish { mode: Some(mode), ranks: Some(2), ..Wish::default() }
}

/// One line of the words that has `text`.
fn says(choice: &Choice, text: &str) {
    assert!(choice.words.iter().any(|line| line.contains(text)), "{text}: {:#?}", choice.words);
}

const TENSOR: (Option<Mode>, u32, Residency) = (Some(Mode::Tensor), 2, Residency::Resident);
const STREAMED: (Option<Mode>, u32, Residency) = (None, 1, Residency::Streamed);

#[test]
fn a_single_shot_splits_its_heads_over_the_two_devices_of_a_host() {
    for (link, name) in [(pcie(), "PCIe 4"), (link("NVLink", 400.0, 20.0), "NVLink")] {
        let choice = any(&fleet(vec![host("ws", 2, 24, link)]), 1);
        println!("{name}: {:#?}", choice.words);
        assert_eq!(way(&choice), TENSOR, "{name}");
        says(&choice, "not whole and streamed on a device of ws: a step takes");
        says(&choice, "not layers over 2 devices");
    }
}

#[test]
fn a_single_shot_splits_its_layers_between_hosts_on_ethernet() {
    let choice = any(&two_hosts(24), 1);
    println!("{:#?}", choice.words);
    assert_eq!(way(&choice), (Some(Mode::Layers), 2, Residency::Resident));
    says(&choice, "not tensor over 2 devices, 2 hosts over 10 GbE: moving takes");
}

/// Two shots side by side, each of which waits for its weights, or one after the other by two devices that wait for each
/// other: the link decides.
#[test]
fn of_many_shots_each_device_streams_its_own_unless_the_link_is_fast() {
    let nvlink = fleet(vec![host("ws", 2, 24, link("NVLink", 400.0, 20.0))]);
    for (fleet, expected) in
        [(two_hosts(24), STREAMED), (fleet(vec![host("ws", 2, 24, pcie())]), STREAMED), (nvlink, TENSOR)]
    {
        let choice = any(&fleet, 1_000);
        println!("{:#?}", choice.words);
        assert_eq!(way(&choice), expected);
        says(
            &choice,
            if expected == STREAMED {
                "its weights come in 1.03 s: 4.84 s, 2 shots side by side"
            } else {
                "tensor"
            },
        );
    }
}

#[test]
fn where_weights_come_slowly_many_shots_are_split_as_well() {
    let slow = Host { upload_bytes_per_s: 3e9, ..host("ws", 2, 24, link("NVLink", 400.0, 20.0)) };
    let slow = Host { link: pcie(), ..slow };
    let choice = any(&fleet(vec![slow]), 1_000);
    assert_eq!(way(&choice), TENSOR);
    says(&choice, "not whole and streamed");
}

#[test]
fn what_is_slow_is_had_by_those_who_insist() {
    let choice = choose(&large(), &shot(), &two_hosts(24), 1_000, by(Mode::Tensor));
    assert_eq!(way(&choice), TENSOR);
}

#[test]
fn what_fits_a_device_is_not_split_unless_devices_stand_idle_and_it_hurries() {
    let whole = (None, 1, Residency::Resident);
    let hurries = Wish { hurries: true, ..Wish::default() };
    let chosen = |shot: &Shot, shots, wish| way(&choose(&large(), shot, &two_hosts(80), shots, wish));
    assert_eq!(chosen(&shot(), 1_000, hurries), whole);
    assert_eq!(chosen(&shot(), 1, Wish::default()), whole);
    assert_eq!(chosen(&shot(), 1, hurries), (Some(Mode::Guidance), 2, Residency::Resident));
    let unguided = Shot { is_guided: false, ..shot() };
    assert_eq!(chosen(&unguided, 1, hurries), whole);
    assert_eq!(way(&any(&two_hosts(32), 1)), (None, 1, Residency::Sequential));
}

#[test]
fn what_fits_nowhere_says_what_it_would_need() {
    let choice = any(&fleet(vec![host("ws", 2, 2, pcie())]), 1);
    assert_eq!(choice.chosen, None);
    says(&choice, "of a device's 2.0 GiB");
    says(&choice, "nothing fits");
}

#[test]
fn unequal_devices_are_asked_for_unequal_shares() {
    let uneven = Host { devices: vec![12 * GIB, 36 * GIB], ..host("ws", 2, 0, pcie()) };
    let choice = choose(&large(), &shot(), &fleet(vec![uneven]), 1, by(Mode::Tensor));
    says(&choice, "tensor over 2 devices (24 + 8 heads)");
}

/// A split costs what the published tables of such splits say.
#[test]
fn the_bytes_of_a_split_are_those_of_the_arithmetic_by_hand() {
    let unguided = Shot { is_guided: false, ..shot() };
    let four = Wish { ranks: Some(4), ..by(Mode::Tensor) };
    let choice = choose(&large(), &unguided, &fleet(vec![host("ws", 4, 16, pcie())]), 1_000, four);
    let chosen = choice.chosen.expect("it fits");
    // 3 sums of 6144 x 4096 x 2 bytes in each of 48 layers, of which a rank of 4 sends twice three quarters.
    let activations = 3.0 * 48.0 * 50_331_648.0 * 1.5;
    assert_eq!(chosen.ranks, 4);
    assert!((chosen.sent_bytes / activations - 1.0).abs() < 0.01, "{}", chosen.sent_bytes);
}

fn need(mode: Mode, ranks: usize, residency: Residency) -> Need {
    let shares = vec![1; ranks];
    large().need(&shot(), &Part { mode, rank: 0, shares: &shares, clips: 1 }, residency, Kind::Gpu)
}

#[test]
fn a_rank_of_a_split_needs_less_and_the_estimate_says_of_what() {
    assert_eq!(need(Mode::Tensor, 1, Residency::Resident).denoise.weights / 1_000_000_000, 36);
    for mode in [Mode::Tensor, Mode::Layers] {
        let halved = need(mode, 2, Residency::Resident);
        // What is not split is on both.
        let split = large().text + large().blocks;
        let whole = 2 * (large().rest + large().decoder);
        assert!(halved.denoise.weights <= split + whole, "{halved:?}");
    }
}

#[test]
fn a_leaner_residency_holds_a_phase_or_two_blocks_of_it() {
    let sequential = need(Mode::Tensor, 1, Residency::Sequential);
    assert_eq!(sequential.encode.weights, 2 * large().text);
    assert_eq!(sequential.denoise.weights, 2 * (large().blocks + large().rest));
    assert_eq!(sequential.decode.weights, 2 * large().decoder);
    let streamed = need(Mode::Tensor, 1, Residency::Streamed);
    assert_eq!(streamed.encode.weights, 2 * large().text / 12);
    assert_eq!(streamed.denoise.weights, 2 * (large().blocks / 24 + large().rest));
    let older = Shape { text_layers: 0, ..large() };
    let whole = older.need(&shot(), &Part::WHOLE, Residency::Streamed, Kind::Gpu);
    assert_eq!(whole.encode.weights, 2 * large().text, "nobody knows in how many blocks");
}

#[test]
fn tiles_bound_what_decoding_takes_and_clips_side_by_side_take_it_each() {
    let tiled = |frames| {
        let shot = Shot { is_tiled: true, width: 2_048, height: 2_048, frames, ..shot() };
        large().need(&shot, &Part::WHOLE, Residency::Sequential, Kind::Gpu).decode.working
    };
    let frame = 2_048 * 2_048 * 4 * 9;
    assert_eq!(tiled(257) - tiled(129), 128 * frame, "frames alone grow with the clip");
    let two = large().need(&shot(), &Part { clips: 2, ..Part::WHOLE }, Residency::Resident, Kind::Gpu);
    let one = need(Mode::Tensor, 1, Residency::Resident);
    assert_eq!(two.denoise.working, 2 * one.denoise.working);
    assert_eq!(two.denoise.weights, one.denoise.weights);
}
