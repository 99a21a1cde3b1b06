// flash_sm80.cu on the CPU: every variant, ragged ends, biases, and rows of a fused buffer.
#include "emulator.h"

#include "../../src/kernels/cuda/flash_sm80.cu"

#include "attention_reference.h"

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

enum class Bias { None, Some, OnlyOneKey, Nothing };

static void check(const Variant& variant, emulate::Order order, int batch, int queries, int keys, int heads, Bias bias) {
    const Size size = {batch, queries, keys, heads, variant.head};
    const int width = heads * variant.head;
    Rows<Bf16> q(batch, queries, width, 24), k(batch, keys, width, 8), v(batch, keys, width, 16),
        out(batch, queries, width, 8);
    fill_rows(q, batch, queries, width, 1);
    fill_rows(k, batch, keys, width, 2);
    fill_rows(v, batch, keys, width, 3);
    Buffer<float> key_bias((size_t)batch * keys);
    fill(key_bias, 4, 2.0f);
    for (size_t i = 0; i < key_bias.len; i++) {
        if (bias == Bias::Nothing || (bias == Bias::OnlyOneKey && (int)(i % keys) != keys - 1)) key_bias[i] = -INFINITY;
        if (bias == Bias::Some && i % 5 == 0) key_bias[i] = -INFINITY;
    }
    const float scale = 1.0f / sqrtf((float)variant.head);
    const float* given = bias == Bias::None ? nullptr : key_bias.data;
    emulate::launch(order, variant.kernel, dim3((queries + variant.queries - 1) / variant.queries, heads, batch),
                    dim3(variant.threads), (size_t)(variant.queries + 2 * variant.keys) * variant.head * 2, q.data.data,
                    k.data.data, v.data.data, out.data.data, given, queries, keys, heads, q.token, q.batch, k.token,
                    k.batch, v.token, v.batch, out.token, out.batch, scale);
    // Weights and results are rounded to bf16.
    expect_attention(size, q, k, v, out, given, nullptr, scale, 0.01, variant.name);
    expect_gaps_untouched(out, width, variant.name);
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
