// attention.cu on the CPU: heads from odd to 256, both biases, both types.
#include "emulator.h"

#include "../../src/kernels/cuda/attention.cu"

#include "attention_reference.h"

template <typename T, typename Kernel>
static void check(const char* name, Kernel kernel, emulate::Order order, const Size& size, bool keys_biased,
                  bool pairs_biased, double tolerance) {
    const int width = size.heads * size.head;
    Rows<T> q(size.batch, size.queries, width, 3), k(size.batch, size.keys, width, 1), v(size.batch, size.keys, width, 2),
        out(size.batch, size.queries, width, 5);
    fill_rows(q, size.batch, size.queries, width, 1);
    fill_rows(k, size.batch, size.keys, width, 2);
    fill_rows(v, size.batch, size.keys, width, 3);
    Buffer<float> key_bias((size_t)size.batch * size.keys), pair_bias((size_t)size.heads * size.queries * size.keys);
    fill(key_bias, 4, 2.0f);
    fill(pair_bias, 5, 2.0f);
    // Some keys no one may see, and the first query of the first head sees none.
    for (size_t i = 1; i < key_bias.len; i += 4) key_bias[i] = -INFINITY;
    for (int j = 0; j < size.keys; j++) pair_bias[j] = -INFINITY;
    const float scale = 1.0f / sqrtf((float)size.head);
    const int tile = size.head <= 64 ? 64 : size.head <= 128 ? 128 : 256;
    const float* keys = keys_biased ? key_bias.data : nullptr;
    const float* pairs = pairs_biased ? pair_bias.data : nullptr;
    emulate::launch(order, kernel, dim3((size.queries + 15) / 16, size.heads, size.batch), dim3(128),
                    (size_t)(16 * tile + 32 * (tile + 1) + 16 * 32) * 4, q.data.data, k.data.data, v.data.data,
                    out.data.data, keys, pairs, size.queries, size.keys, size.heads, size.head, q.token, q.batch, k.token,
                    k.batch, v.token, v.batch, out.token, out.batch, scale);
    expect_attention(size, q, k, v, out, keys, pairs, scale, tolerance, name);
    expect_gaps_untouched(out, width, name);
}

static void check_both(emulate::Order order, const Size& size, bool keys_biased, bool pairs_biased) {
    // The result is rounded to bf16, by 1 in 256 of it at most; f32 has only the rounding of the sums.
    check<Bf16>("attention_bf16", attention_bf16, order, size, keys_biased, pairs_biased, 1.0 / 250);
    check<float>("attention_f32", attention_f32, order, size, keys_biased, pairs_biased, 1e-5);
}

int main() {
    for (emulate::Order order : emulate::ORDERS) {
        check_both(order, {2, 21, 75, 2, 64}, true, true);
        check_both(order, {1, 3, 33, 3, 7}, false, true);
    }
    const emulate::Order shuffled = emulate::Order::Shuffled;
    check_both(shuffled, {1, 1, 1, 1, 1}, false, false);
    check_both(shuffled, {2, 16, 32, 2, 8}, true, false);
    check_both(shuffled, {1, 17, 31, 2, 16}, false, false);
    check_both(shuffled, {1, 18, 40, 1, 100}, false, true);
    check_both(shuffled, {1, 5, 64, 1, 128}, true, true);
    check_both(shuffled, {1, 9, 34, 2, 250}, false, true);
    check_both(shuffled, {1, 2, 3, 1, 256}, false, false);
    std::printf("%d failures\n", failures);
    return failures != 0;
}
