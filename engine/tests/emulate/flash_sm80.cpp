// flash_sm80.cu on the CPU: every variant, ragged ends, biases, and rows of a fused buffer.
#include "emulator.h"

#include "../../src/kernels/cuda/flash_sm80.cu"

#include "flash_case.h"

struct Variant {
    const char* name;
    decltype(&flash_sm80_64_bf16) kernel;
    int head, threads, queries, keys;
};

static const Variant VARIANTS[] = {
    {"flash_sm80_64_bf16", flash_sm80_64_bf16, 64, 128, 128, 64},
    {"flash_sm80_128_bf16", flash_sm80_128_bf16, 128, 128, 128, 64},
    {"flash_sm80_128_narrow_bf16", flash_sm80_128_narrow_bf16, 128, 128, 128, 32},
};

static void check(const Variant& variant, emulate::Order order, int batch, int queries, int keys, int heads, Bias bias) {
    FlashCase given({batch, queries, keys, heads, variant.head}, bias);
    const auto& [size, width, q, k, v, out, key_bias, scale, biases] = given;
    emulate::launch(order, variant.kernel, dim3((queries + variant.queries - 1) / variant.queries, heads, batch),
                    dim3(variant.threads), (size_t)(variant.queries + 2 * variant.keys) * variant.head * 2, q.data.data,
                    k.data.data, v.data.data, out.data.data, biases, queries, keys, heads, q.token, q.batch, k.token,
                    k.batch, v.token, v.batch, out.token, out.batch, scale);
    given.expect(variant.name);
}

int main() {
    for (const Variant& variant : VARIANTS) {
        for (emulate::Order order : emulate::ORDERS) {
            check(variant, order, 1, variant.queries + 37, 3 * variant.keys + 5, 2, Bias::None);
            check(variant, order, 2, 17, 2 * variant.keys + 18, 1, Bias::Some);
        }
        check(variant, emulate::Order::Shuffled, 1, 128, 2 * variant.keys, 1, Bias::None);
        check(variant, emulate::Order::Shuffled, 1, 1, 1, 1, Bias::None);
        check(variant, emulate::Order::Shuffled, 1, 5, variant.keys + 1, 1, Bias::OnlyOneKey);
        check(variant, emulate::Order::Shuffled, 2, 3, variant.keys, 1, Bias::Nothing);
    }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
