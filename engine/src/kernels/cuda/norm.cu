// Norms over the last dimension with what follows them in the models: a weight, AdaLN's shift and scale, the gated sum before
// them, and the rotary turn of queries and keys. One block a row. A row is read once and kept in registers; one that is too
// wide for that, or cannot be read 16 bytes at a time, is read again from the first-level cache.

#include "rows.cuh"

// Vectors of a row that a thread keeps.
#define KEPT 4

// Whether a row of that width is kept by this block.
template <typename T>
__device__ __forceinline__ bool is_kept(int width, bool vectors) {
    return vectors && width <= KEPT * VECTOR<T> * (int)blockDim.x;
}

// Hands `work` each vector of a row that is kept: where it is in the row, and its number.
template <typename T, typename Work>
__device__ __forceinline__ void by_kept(int width, Work work) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
        int i = (k * (int)blockDim.x + (int)threadIdx.x) * VECTOR<T>;
        if (i < width) work(i, k);
    }
}

// How a row is brought to size, and what is done to it then: x (plus + scale) + shift; both may be null.
struct After {
    bool is_layer;
    float eps;
    const float* scale;
    const float* shift;
    float plus;
};

__device__ __forceinline__ float normed(float x, float mean, float share, const After& after, long long i) {
    x = (x - mean) * share;
    if (after.scale) x *= after.plus + after.scale[i];
    if (after.shift) x += after.shift[i];
    return x;
}

// Normalises the row whose vectors are kept into `out`.
template <typename T>
__device__ __forceinline__ void norm_kept(const float (&kept)[KEPT][VECTOR<T>], T* out, int width, const After& after, float* scratch) {
    float mean = 0.0f;
    if (after.is_layer) {
        float sum = 0.0f;
        by_kept<T>(width, [&](int, int k) {
            for (float value : kept[k]) sum += value;
        });
        mean = block_sum(sum, scratch) / width;
    }
    float squares = 0.0f;
    by_kept<T>(width, [&](int, int k) {
        for (float value : kept[k]) squares += (value - mean) * (value - mean);
    });
    float share = 1.0f / sqrtf(block_sum(squares, scratch) / width + after.eps);
    by_kept<T>(width, [&](int i, int k) {
        float v[VECTOR<T>];
        for (int j = 0; j < VECTOR<T>; j++) v[j] = normed(kept[k][j], mean, share, after, i + j);
        store_vector(out + i, v);
    });
}

// The same of a row that lies at `x`, which may be `out`.
template <typename T>
__device__ __forceinline__ void norm_row(const T* x, T* out, int width, bool vectors, const After& after, float* scratch) {
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
        for (int j = 0; j < N; j++) v[j] = normed(v[j], mean, share, after, i + j);
        store(out + i, v);
    });
}

template <typename T>
__device__ __forceinline__ void norm(const T* x, T* out, int width, const After& after) {
    __shared__ float scratch[32];
    long long at = blockIdx.x * (long long)width;
    x += at, out += at;
    bool vectors = is_aligned_16(x) && is_aligned_16(out) && width % VECTOR<T> == 0;
    if (!is_kept<T>(width, vectors)) return norm_row(x, out, width, vectors, after, scratch);
    float kept[KEPT][VECTOR<T>];
    by_kept<T>(width, [&](int i, int k) { load_vector(x + i, kept[k]); });
    norm_kept<T>(kept, out, width, after, scratch);
}

// x += gate (y + bias), and then, where there is an `out`, the norm of it. `gate` and `bias` may be null.
template <typename T>
__device__ __forceinline__ void residual_norm(T* x, const T* y, const float* gate, const float* bias, T* out, int width, const After& after) {
    __shared__ float scratch[32];
    long long at = blockIdx.x * (long long)width;
    x += at, y += at;
    bool vectors = is_aligned_16(x) && is_aligned_16(y) && (!out || is_aligned_16(out + at)) && width % VECTOR<T> == 0;
    auto sum = [&](float old, float more, long long i) {
        if (bias) more += bias[i];
        return old + (gate ? gate[i] * more : more);
    };
    if (!is_kept<T>(width, vectors)) {
        by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
            constexpr int N = decltype(n)::value;
            float old[N], more[N];
            load(x + i, old);
            load(y + i, more);
            for (int j = 0; j < N; j++) old[j] = sum(old[j], more[j], i + j);
            store(x + i, old);
        });
        // Each thread reads what it wrote itself: the same elements in the same order.
        if (out) norm_row(x, out + at, width, vectors, after, scratch);
        return;
    }
    float kept[KEPT][VECTOR<T>];
    by_kept<T>(width, [&](int i, int k) {
        float more[VECTOR<T>];
        load_vector(x + i, kept[k]);
        load_vector(y + i, more);
        // The norm is of what the stream has become, its rounding included.
        for (int j = 0; j < VECTOR<T>; j++) kept[k][j] = rounded<T>(sum(kept[k][j], more[j], i + j));
        store_vector(x + i, kept[k]);
    });
    if (out) norm_kept<T>(kept, out + at, width, after, scratch);
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
    constexpr int N = VECTOR<T>;
    int part = blockIdx.y;
    long long row = blockIdx.x;
    x += row * stride + (long long)part * width;
    const float* weight = part == 0 ? query_weight : key_weight;
    bool vectors = is_aligned_16(x) && width % N == 0, keeps = is_kept<T>(width, vectors);
    float kept[KEPT][N], sum = 0.0f;
    if (keeps) {
        by_kept<T>(width, [&](int i, int k) {
            load_vector(x + i, kept[k]);
            for (float value : kept[k]) sum += value * value;
        });
    } else if (!squares) {
        by_vectors<T>(width, vectors, threadIdx.x, blockDim.x, [&](long long i, auto n) {
            float v[decltype(n)::value];
            load(x + i, v);
            for (float value : v) sum += value * value;
        });
    }
    sum = squares ? squares[row * gridDim.y + part] : block_sum(sum, scratch);
    float share = 1.0f / sqrtf(sum / whole + eps);
    int token = turns.table ? (int)(row % ((long long)turns.frames * turns.rows * turns.columns)) : 0;
    const float2* by_axis[3] = {turns.table, turns.table, turns.table};
    if (turns.table) {
        by_axis[0] += (long long)(token / (turns.rows * turns.columns)) * turns.frequencies;
        by_axis[1] += (long long)(turns.frames + token / turns.columns % turns.rows) * turns.frequencies;
        by_axis[2] += (long long)(turns.frames + turns.rows + token % turns.columns) * turns.frequencies;
    }
    auto turn = [&](float& a, float& b, int i) {
        a *= share * weight[i], b *= share * weight[i + 1];
        int pair = turns.first + i / 2 - turns.still;
        if (!turns.table || pair < 0) return;
        int frequency = pair / 3, axis = pair - 3 * frequency;
        float2 by = (axis == 0 ? by_axis[0] : axis == 1 ? by_axis[1] : by_axis[2])[frequency];
        float turned = a * by.x - b * by.y;
        b = b * by.x + a * by.y;
        a = turned;
    };
    if (keeps) {
        by_kept<T>(width, [&](int i, int k) {
#pragma unroll
            for (int j = 0; j < N; j += 2) turn(kept[k][j], kept[k][j + 1], i + j);
            store_vector(x + i, kept[k]);
        });
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
    extern "C" __global__ void __launch_bounds__(256)                                                                                      \
    norm_##SUFFIX(const T* x, T* out, int width, int is_layer, float eps, const float* scale, const float* shift, float plus) {            \
        norm(x, out, width, After{is_layer != 0, eps, scale, shift, plus});                                                                \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                                                      \
    residual_norm_##SUFFIX(T* x, const T* y, const float* gate, const float* bias, T* out, int width, int is_layer, float eps,             \
                           const float* scale, const float* shift, float plus) {                                                           \
        residual_norm(x, y, gate, bias, out, width, After{is_layer != 0, eps, scale, shift, plus});                                        \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                                                      \
    rms_turn_##SUFFIX(T* x, long long stride, const float* query_weight, const float* key_weight, int width, int whole, float eps,         \
                      const float* squares, const float2* table, int frequencies, int first, int still, int frames, int rows,              \
                      int columns) {                                                                                                       \
        rms_turn(x, stride, query_weight, key_weight, width, whole, eps, squares,                                                          \
                 Turns{table, frequencies, first, still, frames, rows, columns});                                                          \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                                                      \
    squares_##SUFFIX(const T* x, long long stride, float* sums, int width) {                                                               \
        squares(x, stride, sums, width);                                                                                                   \
    }

OF_TYPE(Bf16, bf16)
OF_TYPE(float, f32)
