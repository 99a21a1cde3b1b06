// norm.cu, pointwise.cu and vector.cu on the CPU: rows of odd and of real widths, in both types.
#include "emulator.h"

#include "../../src/kernels/cuda/norm.cu"
#include "../../src/kernels/cuda/pointwise.cu"
#include "../../src/kernels/cuda/vector.cu"

#include "check.h"

static const double EPS = 1e-6;

template <typename T>
static double tolerance() {
    return sizeof(T) == 2 ? 2e-2 : 2e-5;
}

template <typename T>
static std::vector<double> copy_of(const Buffer<T>& buffer) {
    std::vector<double> values(buffer.len);
    for (size_t i = 0; i < buffer.len; i++) values[i] = to_f32(buffer.data[i]);
    return values;
}

static double gelu_of(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

static double silu_of(double x) { return x / (1 + std::exp(-x)); }

static std::vector<double> normed(const double* row, int width, bool is_layer) {
    double mean = 0, squares = 0;
    if (is_layer)
        for (int i = 0; i < width; i++) mean += row[i] / width;
    for (int i = 0; i < width; i++) squares += (row[i] - mean) * (row[i] - mean) / width;
    std::vector<double> out(width);
    for (int i = 0; i < width; i++) out[i] = (row[i] - mean) / std::sqrt(squares + EPS);
    return out;
}

template <typename T, typename Norm, typename Residual>
static void norms(emulate::Order order, int rows, int width, Norm norm, Residual residual) {
    Buffer<T> x((size_t)rows * width), y((size_t)rows * width), out((size_t)rows * width);
    Buffer<float> scale(width), shift(width), gate(width), bias(width);
    fill(x, 1), fill(y, 2), fill(scale, 3), fill(shift, 4), fill(gate, 5), fill(bias, 6);
    for (int is_layer = 0; is_layer < 2; is_layer++) {
        emulate::launch(order, norm, dim3(rows), dim3(64), 0, x.data, out.data, width, is_layer, (float)EPS, scale.data, shift.data, 1.0f);
        const std::vector<double> from = copy_of(x);
        for (int r = 0; r < rows; r++) {
            std::vector<double> row = normed(&from[(size_t)r * width], width, is_layer);
            for (int i = 0; i < width; i++)
                expect_near(to_f32(out[(size_t)r * width + i]), row[i] * (1 + scale[i]) + shift[i], tolerance<T>(), "norm", i);
        }
    }
    const std::vector<double> old = copy_of(x), more = copy_of(y);
    emulate::launch(order, residual, dim3(rows), dim3(64), 0, x.data, y.data, gate.data, bias.data, out.data, width, 0, (float)EPS, scale.data,
                    (const float*)nullptr, 0.0f);
    const std::vector<double> sum = copy_of(x);
    for (int r = 0; r < rows; r++) {
        std::vector<double> row = normed(&sum[(size_t)r * width], width, false);
        for (int i = 0; i < width; i++) {
            const size_t at = (size_t)r * width + i;
            expect_near(sum[at], old[at] + gate[i] * (more[at] + bias[i]), tolerance<T>(), "sum", at);
            expect_near(to_f32(out[at]), row[i] * scale[i], tolerance<T>(), "norm of the sum", at);
        }
    }
}

template <typename T, typename Turn, typename Squares>
static void turns(emulate::Order order, int frames, int rows, int columns, int width, int whole, int first, Turn turn, Squares squares) {
    const int tokens = frames * rows * columns, all = 2 * tokens, stride = 3 * width, frequencies = whole / 6, still = whole % 6 / 2;
    Buffer<T> x((size_t)all * stride);
    Buffer<float> query(width), key(width), sums((size_t)all * 2);
    Buffer<float2> table((size_t)(frames + rows + columns) * frequencies);
    fill(x, 1), fill(query, 2), fill(key, 3);
    for (size_t i = 0; i < table.len; i++) table[i] = {std::cos((float)i), std::sin((float)i)};
    const std::vector<double> old = copy_of(x);
    const bool is_split = whole > width;
    if (is_split) emulate::launch(order, squares, dim3(all, 2), dim3(32), 0, x.data, (long long)stride, sums.data, width);
    emulate::launch(order, turn, dim3(all, 2), dim3(32), 0, x.data, (long long)stride, query.data, key.data, width, whole, (float)EPS,
                    is_split ? sums.data : (const float*)nullptr, table.data, frequencies, first / 2, still, frames, rows, columns);
    for (int r = 0; r < all; r++) {
        const int token = r % tokens;
        const int at[3] = {token / (rows * columns), frames + token / columns % rows, frames + rows + token % columns};
        for (int part = 0; part < 3; part++) {
            const double* from = &old[(size_t)r * stride + part * width];
            std::vector<double> expected(from, from + width);
            if (part < 2) {
                double mean = 0;
                for (double v : expected) mean += v * v / whole;
                for (int i = 0; i < width; i++) expected[i] *= (part ? key[i] : query[i]) / std::sqrt(mean + EPS);
                for (int i = 0; i < width; i += 2) {
                    const int pair = first / 2 + i / 2 - still;
                    if (pair < 0) continue;
                    const float2 by = table[(size_t)at[pair % 3] * frequencies + pair / 3];
                    const double a = expected[i], b = expected[i + 1];
                    expected[i] = a * by.x - b * by.y, expected[i + 1] = b * by.x + a * by.y;
                }
            }
            for (int i = 0; i < width; i++)
                expect_near(to_f32(x[(size_t)r * stride + part * width + i]), expected[i], tolerance<T>(), part < 2 ? "turn" : "values", i);
        }
    }
}

template <typename T, typename Gated, typename Bias, typename Vector>
static void others(emulate::Order order, int rows, int width, Gated gated, Bias bias_gelu, Vector vector) {
    const long long count = (long long)rows * width;
    Buffer<T> both(2 * count), out(count), x(count), weight(count);
    Buffer<float> bias(width), one(width), product(rows), offsets(rows);
    fill(both, 1), fill(x, 2), fill(weight, 4), fill(bias, 5), fill(one, 6), fill(offsets, 7);
    emulate::launch(order, gated, dim3(3), dim3(64), 0, both.data, out.data, (long long)rows, width);
    for (long long i = 0; i < count; i++) {
        const size_t at = i / width * 2 * width + i % width;
        expect_near(to_f32(out[i]), gelu_of(to_f32(both[at])) * to_f32(both[at + width]), tolerance<T>(), "gated_gelu", i);
    }
    const std::vector<double> first = copy_of(x);
    emulate::launch(order, bias_gelu, dim3(3), dim3(64), 0, x.data, bias.data, count, width);
    for (long long i = 0; i < count; i++)
        expect_near(to_f32(x[i]), gelu_of(first[i] + bias[i % width]), tolerance<T>(), "bias_gelu", i);
    for (int silus = 0; silus < 4; silus++) {
        emulate::launch(order, vector, dim3((rows + 1) / 2), dim3(64), 0, one.data, weight.data, offsets.data, product.data, width, rows, silus);
        for (int r = 0; r < rows; r++) {
            double sum = offsets[r];
            for (int i = 0; i < width; i++) sum += to_f32(weight[(size_t)r * width + i]) * (silus & 1 ? silu_of(one[i]) : one[i]);
            expect_near(product[r], silus & 2 ? silu_of(sum) : sum, 1e-4, "vector_linear", r);
        }
    }
}

template <typename T>
static void rest(emulate::Order order) {
    Buffer<float> tables(5 * 12), level(12), out(5 * 12);
    fill(tables, 1), fill(level, 2);
    emulate::launch(order, modulations, dim3(2), dim3(32), 0, tables.data, level.data, out.data, 60LL, 12);
    for (int i = 0; i < 60; i++) expect_near(out[i], tables[i] + level[i % 12], 0, "modulations", i);
    Buffer<Half> halves(1 << 16);
    Buffer<float> wide(1 << 16);
    for (int i = 0; i < 1 << 16; i++) halves[i].bits = (unsigned short)i;
    emulate::launch(order, convert_f16_f32, dim3(8), dim3(64), 0, halves.data, wide.data, 1LL << 16);
    for (int i = 0; i < 1 << 16; i++) {
        const int exponent = i >> 10 & 31, mantissa = i & 1023;
        if (exponent == 31) {
            if (mantissa ? wide[i] == wide[i] : !std::isinf(wide[i])) expect_near(wide[i], 0, 0, "convert_f16", i);
            continue;
        }
        const double size = exponent ? std::ldexp(1024.0 + mantissa, exponent - 25) : std::ldexp((double)mantissa, -24);
        expect_near(wide[i], i >> 15 ? -size : size, 0, "convert_f16", i);
    }
}

int main() {
    for (emulate::Order order : emulate::ORDERS) {
        for (auto [rows, width] : std::vector<std::pair<int, int>>{{1, 8}, {3, 24}, {2, 130}, {2, 34}, {2, 640}}) {
            norms<Bf16>(order, rows, width, norm_bf16, residual_norm_bf16);
            norms<float>(order, rows, width, norm_f32, residual_norm_f32);
            others<Bf16>(order, rows, width, gated_gelu_bf16, bias_gelu_bf16, vector_linear_bf16);
            others<float>(order, rows, width, gated_gelu_f32, bias_gelu_f32, vector_linear_f32);
        }
        for (auto [width, whole, first] : std::vector<std::tuple<int, int, int>>{{48, 48, 0}, {50, 50, 0}, {64, 256, 64}, {128, 128, 0}}) {
            turns<Bf16>(order, 2, 3, 4, width, whole, first, rms_turn_bf16, squares_bf16);
            turns<float>(order, 2, 3, 4, width, whole, first, rms_turn_f32, squares_f32);
        }
        rest<float>(order);
    }
    return failures != 0;
}
