// Norms over the last dimension with what follows them in the models: a weight, AdaLN's shift and scale, the gated sum before
// them, and the rotary turn of queries and keys. One block a row; a row stays in the first-level cache between passes.

#include "rows.cuh"

// How a row is brought to size, and what is done to it then: x (plus + scale) + shift; both may be null.
struct After {
    bool is_layer;
    float eps;
    const float* scale;
    const float* shift;
    float plus;
};

// Normalises the row `x` into `out`, which may be the same.
template <typename T>
__device__ __forceinline__ void norm_row(const T* x, T* out, int width, const After& after, float* scratch) {
    bool vectors = is_aligned_16(x) && is_aligned_16(out) && width % VECTOR<T> == 0;
    float mean = 0.0f;
    if (after.is_layer) {
        float sum = 0.0f;
        by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
            float v[decltype(n)::value];
            load(x + i, v);
            for (float value : v) sum += value;
        });
        mean = block_sum(sum, scratch) / width;
    }
    float squares = 0.0f;
    by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
        float v[decltype(n)::value];
        load(x + i, v);
        for (float value : v) squares += (value - mean) * (value - mean);
    });
    float share = 1.0f / sqrtf(block_sum(squares, scratch) / width + after.eps);
    by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
        constexpr int N = decltype(n)::value;
        float v[N];
        load(x + i, v);
        for (int j = 0; j < N; j++) {
            v[j] = (v[j] - mean) * share;
            if (after.scale) v[j] *= after.plus + after.scale[i + j];
            if (after.shift) v[j] += after.shift[i + j];
        }
        store(out + i, v);
    });
}

template <typename T>
__device__ __forceinline__ void norm(const T* x, T* out, int width, const After& after) {
    __shared__ float scratch[32];
    long long at = blockIdx.x * (long long)width;
    norm_row(x + at, out + at, width, after, scratch);
}

// x += gate (y + bias), and then, where there is an `out`, the norm of it. `gate` and `bias` may be null.
template <typename T>
__device__ __forceinline__ void residual_norm(T* x, const T* y, const float* gate, const float* bias, T* out, int width, const After& after) {
    __shared__ float scratch[32];
    long long at = blockIdx.x * (long long)width;
    x += at, y += at;
    bool vectors = is_aligned_16(x) && is_aligned_16(y) && (!out || is_aligned_16(out + at)) && width % VECTOR<T> == 0;
    by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
        constexpr int N = decltype(n)::value;
        float old[N], more[N];
        load(x + i, old);
        load(y + i, more);
        for (int j = 0; j < N; j++) {
            if (bias) more[j] += bias[i + j];
            old[j] += gate ? gate[i + j] * more[j] : more[j];
        }
        store(x + i, old);
    });
    // Each thread reads what it wrote itself: the same elements in the same order, where `vectors` is the same.
    if (out) {
        if (!vectors) __syncthreads();
        norm_row(x, out + at, width, after, scratch);
    }
}

// Turns of pairs for the positions along each axis, `(frames + rows + columns, frequencies)` of cosine and sine.
struct Turns {
    const float2* table;
    int frequencies;
    // Pairs before this rank's first, and those at the front that are not turned.
    int first, still;
    // Of the grid of tokens: frames, rows, columns.
    int frames, rows, columns;
};

// x = x rsqrt(mean(x^2) + eps) weight, then turned where there is a table; in place. Part `blockIdx.y` of a row is queries,
// then keys. The mean is over `whole` elements, of which others' squares are in `squares (rows, parts)` already where ranks
// share a row.
template <typename T>
__device__ __forceinline__ void rms_turn(
    T* x, long long stride, const float* query_weight, const float* key_weight, int width, int whole, float eps, const float* squares, const Turns& turns) {
    __shared__ float scratch[32];
    int part = blockIdx.y;
    long long row = blockIdx.x;
    x += row * stride + (long long)part * width;
    const float* weight = part == 0 ? query_weight : key_weight;
    bool vectors = is_aligned_16(x) && width % VECTOR<T> == 0;
    float sum = 0.0f;
    if (squares) {
        sum = squares[row * gridDim.y + part];
    } else {
        by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
            float v[decltype(n)::value];
            load(x + i, v);
            for (float value : v) sum += value * value;
        });
        sum = block_sum(sum, scratch);
    }
    float share = 1.0f / sqrtf(sum / whole + eps);
    if (!turns.table) {
        by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
            float v[decltype(n)::value];
            load(x + i, v);
            for (int j = 0; j < decltype(n)::value; j++) v[j] *= share * weight[i + j];
            store(x + i, v);
        });
        return;
    }
    int token = (int)(row % ((long long)turns.frames * turns.rows * turns.columns));
    int at[3] = {token / (turns.rows * turns.columns), turns.frames + token / turns.columns % turns.rows, turns.frames + turns.rows + token % turns.columns};
    auto turn = [&](float& a, float& b, int i) {
        a *= share * weight[i], b *= share * weight[i + 1];
        int pair = turns.first + i / 2 - turns.still;
        if (pair < 0) return;
        float2 by = turns.table[(long long)(pair % 3 == 0 ? at[0] : pair % 3 == 1 ? at[1] : at[2]) * turns.frequencies + pair / 3];
        float turned = a * by.x - b * by.y;
        b = b * by.x + a * by.y;
        a = turned;
    };
    if (vectors) {
        constexpr int N = VECTOR<T>;
        for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
            float v[N];
            load_vector(x + i, v);
#pragma unroll
            for (int j = 0; j < N; j += 2) turn(v[j], v[j + 1], i + j);
            store_vector(x + i, v);
        }
    } else {
        for (int i = 2 * threadIdx.x; i < width; i += 2 * blockDim.x) {
            float a = to_f32(x[i]), b = to_f32(x[i + 1]);
            turn(a, b, i);
            store_f32(x + i, a), store_f32(x + i + 1, b);
        }
    }
}

// The sum of squares of part `blockIdx.y` of each row, `(rows, parts)`.
template <typename T>
__device__ __forceinline__ void squares(const T* x, long long stride, float* sums, int width) {
    __shared__ float scratch[32];
    x += blockIdx.x * stride + (long long)blockIdx.y * width;
    float sum = 0.0f;
    by_vectors<T>(width, is_aligned_16(x), threadIdx.x, blockDim.x, [&](long long i, auto n) {
        float v[decltype(n)::value];
        load(x + i, v);
        for (float value : v) sum += value * value;
    });
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x * (long long)gridDim.y + blockIdx.y] = sum;
}

#define OF_TYPE(T, SUFFIX)                                                                                                                 \
    extern "C" __global__ void norm_##SUFFIX(                                                                                              \
        const T* x, T* out, int width, int is_layer, float eps, const float* scale, const float* shift, float plus) {                      \
        norm(x, out, width, After{is_layer != 0, eps, scale, shift, plus});                                                                \
    }                                                                                                                                      \
    extern "C" __global__ void residual_norm_##SUFFIX(T* x, const T* y, const float* gate, const float* bias, T* out, int width,           \
                                                      int is_layer, float eps, const float* scale, const float* shift, float plus) {       \
        residual_norm(x, y, gate, bias, out, width, After{is_layer != 0, eps, scale, shift, plus});                                        \
    }                                                                                                                                      \
    extern "C" __global__ void rms_turn_##SUFFIX(T* x, long long stride, const float* query_weight, const float* key_weight, int width,    \
                                                 int whole, float eps, const float* squares, const float2* table, int frequencies,         \
                                                 int first, int still, int frames, int rows, int columns) {                                \
        rms_turn(x, stride, query_weight, key_weight, width, whole, eps, squares,                                                          \
                 Turns{table, frequencies, first, still, frames, rows, columns});                                                          \
    }                                                                                                                                      \
    extern "C" __global__ void squares_##SUFFIX(const T* x, long long stride, float* sums, int width) { squares(x, stride, sums, width); }

OF_TYPE(Bf16, bf16)
OF_TYPE(float, f32)
