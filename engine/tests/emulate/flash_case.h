// What the tests of all flash kernels give them, and what comes back is held to.
#pragma once

#include "attention_reference.h"

enum class Bias { None, Some, OnlyOneKey, Nothing };

// Queries, keys and values as rows of a fused buffer, room for the result, and a bias of keys.
struct FlashCase {
    Size size;
    int width;
    Rows<Bf16> q, k, v, out;
    Buffer<float> key_bias;
    float scale;
    // The bias, or null.
    const float* given;

    FlashCase(const Size& size, Bias bias)
        : size(size), width(size.heads * size.head), q(size.batch, size.queries, width, 24), k(size.batch, size.keys, width, 8),
          v(size.batch, size.keys, width, 16), out(size.batch, size.queries, width, 8), key_bias((size_t)size.batch * size.keys),
          scale(1.0f / sqrtf((float)size.head)), given(bias == Bias::None ? nullptr : key_bias.data) {
        fill_rows(q, size.batch, size.queries, width, 1);
        fill_rows(k, size.batch, size.keys, width, 2);
        fill_rows(v, size.batch, size.keys, width, 3);
        fill(key_bias, 4, 2.0f);
        for (size_t i = 0; i < key_bias.len; i++) {
            const bool is_last = (int)(i % size.keys) == size.keys - 1;
            if (bias == Bias::Nothing || (bias == Bias::OnlyOneKey && !is_last)) key_bias[i] = -INFINITY;
            if (bias == Bias::Some && i % 5 == 0) key_bias[i] = -INFINITY;
        }
    }

    void expect(const char* name) const {
        // Weights and results are rounded to bf16.
        expect_attention(size, q, k, v, out, given, nullptr, scale, 0.01, name);
        expect_gaps_untouched(out, width, name);
    }
};
