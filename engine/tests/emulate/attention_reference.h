// Attention after its definition, in f64, and what all kernels of attention are tested with: rows in a fused buffer.
#pragma once

#include "check.h"

struct Size {
    int batch, queries, keys, heads, head;
};

// One of q, k, v: `batch` times `tokens` rows of `heads * head` elements, with gaps that stay NaN between the rows.
template <typename T>
struct Rows {
    long long token, batch;
    Buffer<T> data;

    Rows(int batches, int tokens, int width, int gap)
        : token(width + gap), batch(token * tokens + 2 * gap), data(batch * (batches - 1) + token * tokens - gap) {}

    size_t at(int b, int t, int column) const { return b * batch + t * token + column; }
};

template <typename T>
void fill_rows(Rows<T>& rows, int batches, int tokens, int width, unsigned int seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int b = 0; b < batches; b++)
        for (int t = 0; t < tokens; t++)
            for (int c = 0; c < width; c++) store_f32(&rows.data[rows.at(b, t, c)], normal(random));
}

// `key_bias` (batch, keys) and `pair_bias` (heads, queries, keys) may be null.
template <typename T>
void expect_attention(const Size& size, const Rows<T>& q, const Rows<T>& k, const Rows<T>& v, const Rows<T>& out,
                      const float* key_bias, const float* pair_bias, double scale, double tolerance,
                      const char* what) {
    std::vector<double> weights(size.keys), row(size.head);
    for (int b = 0; b < size.batch; b++)
        for (int h = 0; h < size.heads; h++)
            for (int i = 0; i < size.queries; i++) {
                double most = -INFINITY, sum = 0;
                for (int j = 0; j < size.keys; j++) {
                    double score = 0;
                    for (int d = 0; d < size.head; d++)
                        score += (double)to_f32(q.data[q.at(b, i, h * size.head + d)]) *
                                 to_f32(k.data[k.at(b, j, h * size.head + d)]);
                    score *= scale;
                    if (key_bias) score += key_bias[(size_t)b * size.keys + j];
                    if (pair_bias) score += pair_bias[((size_t)h * size.queries + i) * size.keys + j];
                    weights[j] = score;
                    most = std::max(most, score);
                }
                std::fill(row.begin(), row.end(), 0.0);
                // A row that may see no key is zeros.
                for (int j = 0; j < size.keys && most > -INFINITY; j++) {
                    const double weight = std::exp(weights[j] - most);
                    sum += weight;
                    for (int d = 0; d < size.head; d++)
                        row[d] += weight * to_f32(v.data[v.at(b, j, h * size.head + d)]);
                }
                for (int d = 0; d < size.head; d++) {
                    const size_t at = out.at(b, i, h * size.head + d);
                    expect_near(to_f32(out.data[at]), sum > 0 ? row[d] / sum : 0.0, tolerance, what, at);
                }
            }
}

// The gaps between rows belong to others.
template <typename T>
void expect_gaps_untouched(const Rows<T>& out, int width, const char* what) {
    for (size_t i = 0; i < out.data.len; i++)
        if ((long long)(i % out.batch % out.token) >= width || (long long)(i % out.batch) / out.token * out.token + width > out.batch)
            if (to_f32(out.data[i]) == to_f32(out.data[i])) expect_near(0, 1, 0, what, i);
}
