// flash_sm90.cu on the CPU: every variant, ragged ends, biases, rows of a fused buffer, and blocks that take several
// tiles, some of them one more than others.
#include "hopper.h"

#include "../../src/kernels/cuda/flash_sm90.cu"

#include "flash_case.h"

struct Variant {
    const char* name;
    decltype(&flash_sm90_128) kernel;
    bool biased;
    int head, threads, queries, keys;
    size_t shared_bytes;
};

// As attention.rs launches them.
static const Variant VARIANTS[] = {
    {"flash_sm90_128", flash_sm90_128, false, 128, 384, 128, 176, 214112},
    {"flash_sm90_128_bias", flash_sm90_128_bias, true, 128, 384, 128, 128, 197760},
    {"flash_sm90_64", flash_sm90_64, false, 64, 512, 192, 128, 115872},
    {"flash_sm90_64_bias", flash_sm90_64_bias, true, 64, 384, 128, 128, 99456},
};

static TensorMap map_of(const Rows<Bf16>& rows, const Size& size, int tokens, int box) {
    const u64 head = size.head, heads = size.heads, batch = size.batch;
    return emulate::encoded<TensorMap>({rows.data.data, {head, heads, (u64)tokens, batch},
                                        {head, (u64)rows.token, (u64)rows.batch}, {64, 1, (u32)box, 1}});
}

static void check(const Variant& variant, emulate::Order order, int batch, int queries, int keys, int heads, int blocks,
                  Bias bias = Bias::Some) {
    FlashCase given({batch, queries, keys, heads, variant.head}, variant.biased ? bias : Bias::None);
    const auto& [size, width, q, k, v, out, key_bias, scale, biases] = given;
    emulate::launch_hopper(order, variant.kernel, blocks, variant.threads, variant.shared_bytes,
                           map_of(q, size, queries, 64), map_of(k, size, keys, variant.keys),
                           map_of(v, size, keys, variant.keys), out.data.data, biases, batch, queries, keys, heads,
                           out.token, out.batch, (long long)keys, scale);
    given.expect(variant.name);
}

int main() {
    for (const Variant& variant : VARIANTS) {
        // Three tiles of queries for two blocks, and more tiles of keys than are in flight.
        for (emulate::Order order : emulate::ORDERS)
            check(variant, order, 1, 2 * variant.queries + 37, 4 * variant.keys + 5, 1, 2);
        const emulate::Order shuffled = emulate::Order::Shuffled;
        check(variant, shuffled, 2, 17, 2 * variant.keys + 18, 2, 1);
        check(variant, shuffled, 1, 128, 2 * variant.keys, 1, 1);
        check(variant, shuffled, 1, 1, 1, 1, 1);
        if (!variant.biased) continue;
        check(variant, shuffled, 1, 5, variant.keys + 1, 1, 1, Bias::OnlyOneKey);
        check(variant, shuffled, 2, 3, variant.keys, 1, 1, Bias::Nothing);
    }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
