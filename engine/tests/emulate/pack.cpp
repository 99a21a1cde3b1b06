// pack.cu on the CPU.
#include "emulator.h"

#include "../../src/kernels/cuda/pack.cu"

#include "check.h"

template <typename T, typename Kernel>
static void check(const char* name, Kernel kernel) {
    const int outputs = 6, channels = 5, taps = 4;
    Buffer<T> stored(outputs * channels * taps), out(outputs * channels * taps);
    Buffer<unsigned int> order(outputs);
    fill(stored, 1);
    for (int j = 0; j < outputs; j++) order[j] = j * 5 % outputs;
    emulate::launch(emulate::Order::Shuffled, kernel, dim3(2), dim3(32), 0, stored.data, order.data, out.data, outputs,
                    channels, taps);
    for (int i = 0; i < (int)out.len; i++) {
        const int j = i / channels / taps, tap = i / channels % taps, c = i % channels;
        expect_near(to_f32(out[i]), to_f32(stored[(order[j] * channels + c) * taps + tap]), 0, name, i);
    }
}

int main() {
    check<Bf16>("pack_conv3d_bf16", pack_conv3d_bf16);
    check<float>("pack_conv3d_f32", pack_conv3d_f32);
    std::printf("%d failures\n", failures);
    return failures != 0;
}
