// conv3d_sm90.cu on the CPU: ragged pixels, outputs and channels, both ways of time, everywhere that outputs go, both
// widths of boxes, and blocks that take several tiles.
#include "hopper.h"

#include "../../src/kernels/cuda/conv3d_sm90.cu"

#include "conv3d_reference.h"

struct Variant {
    const char* name;
    decltype(&conv3d_sm90_128_256) kernel;
    int pixels, outputs;
    size_t shared_bytes;
};

// As decoder/hopper.rs launches them.
static const Variant SQUARE = {"conv3d_sm90_128_128", conv3d_sm90_128_128, 128, 128, 214208};
static const Variant WIDE = {"conv3d_sm90_128_256", conv3d_sm90_128_256, 128, 256, 226432};
static const Variant TALL = {"conv3d_sm90_256_128", conv3d_sm90_256_128, 256, 128, 226464};
static const Variant LAST = {"conv3d_sm90_256_48", conv3d_sm90_256_48, 256, 48, 228544};

static void check(const Variant& variant, emulate::Order order, int blocks, int line_bits, const Case& c) {
    const double tolerance = c.mode == FRAMES ? 1e-4 : 1.0 / 250;
    check_outputs<Bf16>(variant.name, c, tolerance, [&](const Given<Bf16>& given, const float* bias, void* out) {
        const u64 channels = c.channels, line = c.width + 2, lines = c.height + 2, len = 27 * channels;
        const u64 outputs = c.outputs, frames = c.frames;
        const u32 box_lines = (variant.pixels >> line_bits) + 2;
        const TensorMap boxes = emulate::encoded<TensorMap>({given.x.data, {channels, line, lines, frames},
                                                             {channels, line * channels, lines * line * channels},
                                                             {64, 1u << line_bits, box_lines, 1}});
        const TensorMap taps = emulate::encoded<TensorMap>({given.weight.data, {len, outputs, 1, 1},
                                                            {len, outputs * len, outputs * len},
                                                            {64, (u32)variant.outputs, 1, 1}});
        emulate::launch_hopper(order, variant.kernel, blocks, 384, variant.shared_bytes, boxes, taps, given.x.data,
                               bias, out, c.frames, c.height, c.width, c.channels, c.outputs, c.before, c.mode,
                               c.patch_time, c.patch, line_bits);
    });
}

int main() {
    for (emulate::Order order : emulate::ORDERS) {
        check(SQUARE, order, 2, 3, {2, 9, 17, 72, 24, 1, ADD});
        check(WIDE, order, 1, 4, {1, 3, 17, 64, 40, 2, REPLACE});
        check(TALL, order, 1, 3, {1, 33, 3, 64, 24, 1, REPLACE});
        check(LAST, order, 2, 4, {3, 3, 5, 64, 48, 1, FRAMES, 1, 4});
    }
    const emulate::Order shuffled = emulate::Order::Shuffled;
    check(SQUARE, shuffled, 1, 4, {2, 2, 3, 64, 192, 1, SPREAD_RESIDUAL});
    check(WIDE, shuffled, 3, 3, {3, 2, 9, 64, 320, 2, SPREAD});
    check(TALL, shuffled, 1, 4, {1, 1, 1, 8, 8, 1, REPLACE, 1, 1, false});
    check(TALL, shuffled, 2, 4, {2, 3, 2, 72, 136, 2, ADD});
    check(LAST, shuffled, 1, 3, {2, 2, 3, 8, 24, 2, FRAMES, 2, 2});
    std::printf("%d failures\n", failures);
    return failures != 0;
}
