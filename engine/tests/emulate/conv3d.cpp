// conv3d.cu on the CPU: ragged pixels, outputs and channels, both ways of time, everywhere that outputs go.
#include "emulator.h"

#include "../../src/kernels/cuda/conv3d.cu"

#include "conv3d_reference.h"

static void wide(emulate::Order order, const Case& c) {
    check_case<Bf16>("conv3d_bf16", conv3d_bf16, order, c, c.width + 2, 128, 128, 128, 65792, 1.0 / 250);
}

static void tall(emulate::Order order, const Case& c) {
    check_case<Bf16>("conv3d_tall_bf16", conv3d_tall_bf16, order, c, c.width + 2, 256, 256, 128, 82176, 1.0 / 250);
}

static void narrow(emulate::Order order, const Case& c) {
    check_case<Bf16>("conv3d_narrow_bf16", conv3d_narrow_bf16, order, c, c.width + 2, 128, 256, 64, 57600, 1.0 / 250);
}

int main() {
    for (emulate::Order order : emulate::ORDERS) {
        wide(order, {2, 9, 15, 40, 136, 1, ADD});
        tall(order, {2, 17, 16, 40, 136, 1, ADD});
        narrow(order, {2, 17, 16, 40, 72, 2, ADD});
    }
    const emulate::Order shuffled = emulate::Order::Shuffled;
    for (auto check : {wide, tall, narrow}) {
        check(shuffled, {1, 1, 1, 8, 2, 2, REPLACE});
        check(shuffled, {4, 3, 5, 64, 16, 2, REPLACE, 1, 1, false});
        check(shuffled, {3, 3, 2, 16, 16, 1, REPLACE});
        check(shuffled, {3, 8, 14, 16, 144, 1, SPREAD});
        check(shuffled, {1, 2, 3, 8, 32, 2, SPREAD});
        check(shuffled, {2, 4, 5, 48, 160, 1, SPREAD_RESIDUAL});
        check(shuffled, {2, 5, 31, 24, 48, 1, FRAMES, 1, 4});
        check(shuffled, {2, 2, 3, 8, 72, 2, FRAMES, 6, 2});
    }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
