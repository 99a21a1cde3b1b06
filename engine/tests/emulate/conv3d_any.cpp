// conv3d_any.cu on the CPU, both types.
#include "emulator.h"

#include "../../src/kernels/cuda/conv3d_any.cu"

#include "conv3d_reference.h"

static void check(emulate::Order order, const Case& c) {
    // The result is rounded to bf16, by 1 in 256 of it at most; f32 has only the rounding of the sums.
    check_case<Bf16>("conv3d_any_bf16", conv3d_any_bf16, order, c, c.width, 256, 64, 64, 0, 1.0 / 250);
    check_case<float>("conv3d_any_f32", conv3d_any_f32, order, c, c.width, 256, 64, 64, 0, 1e-5);
}

int main() {
    for (emulate::Order order : emulate::ORDERS) check(order, {2, 9, 8, 5, 67, 1, ADD});
    const emulate::Order shuffled = emulate::Order::Shuffled;
    check(shuffled, {1, 1, 1, 1, 1, 2, REPLACE});
    check(shuffled, {3, 3, 4, 7, 3, 2, REPLACE, 1, 1, false});
    check(shuffled, {3, 8, 9, 16, 72, 1, SPREAD});
    check(shuffled, {2, 3, 5, 8, 24, 1, SPREAD_RESIDUAL});
    check(shuffled, {2, 5, 3, 3, 27, 1, FRAMES, 1, 3});
    check(shuffled, {2, 2, 3, 4, 6, 2, FRAMES, 2, 1});
    std::printf("%d failures\n", failures);
    return failures != 0;
}
