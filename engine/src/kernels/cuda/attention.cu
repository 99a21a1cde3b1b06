// softmax(scale q k^T + biases) v for any head up to 256 wide, any number of queries and keys, in bf16 or f32, all
// arithmetic in f32, without the table of scores (the online softmax). For what the tensor-core kernels do not take:
// biases of pairs (T5's relative positions), small or odd heads, f32.
//
// A block owns 16 queries of one head; each of its four warps owns four of them and needs no other warp. Over the keys
// it goes 32 at a time: for the scores a lane is a key, for the sum of values a lane is every 32nd element of the head.
//
// Arguments: q (batch, queries, heads, head), k and v (batch, keys, heads, head), out like q, all with their own
// strides in elements from token to token and from batch to batch; key_bias (batch, keys) and pair_bias (heads,
// queries, keys) in f32, either may be null; both are added to the scaled scores. A row whose scores are all -inf
// becomes zeros.
// Launch: grid (queries / 16 rounded up, heads, batch), block 128, and of dynamic shared memory
// (16 w + 32 (w + 1) + 16 * 32) * 4 bytes, w = 64 for heads up to 64, 128 up to 128, else 256: 51,328 at most.
#include "common.cuh"

// Copies rows first to first + 31 of (`rows`, `head`) to a tile whose rows are WIDTH + 1 apart, so that a column of it
// lies in 32 different banks; what is not there becomes 0.
template <int WIDTH, typename T>
__device__ __forceinline__ void load_rows(float* tile, const T* from, long long token, int first, int rows, int head) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // As many loads under way as there are registers for.
#pragma unroll (512 / WIDTH)
    for (int i = 0; i < 8; i++) {
        const int row = i * 4 + warp;
        const T* source = from + (first + row) * token;
#pragma unroll
        for (int c = lane; c < WIDTH; c += 32)
            tile[row * (WIDTH + 1) + c] = first + row < rows && c < head ? to_f32(source[c]) : 0.0f;
    }
}

template <int WIDTH, typename T>
__device__ __forceinline__ void attend(const T* q, const T* k, const T* v, T* out, const float* key_bias,
                                       const float* pair_bias, int queries, int keys, int head, long long q_token,
                                       long long k_token, long long v_token, long long o_token, float scale) {
    constexpr int QUERIES = 4, PARTS = WIDTH / 32;
    DYNAMIC_SHARED(shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int query0 = blockIdx.x * 16 + warp * QUERIES;
    float* const tile = (float*)shared + 16 * WIDTH;
    // This warp's queries and weights; both are read by all lanes at once.
    float* const query = (float*)shared + warp * QUERIES * WIDTH;
    float* const weights = tile + 32 * (WIDTH + 1) + warp * QUERIES * 32;

    // Less than any score, and finite, so that differences stay numbers.
    constexpr float LEAST = -1e30f, LOG2_E = 1.4426950408889634f;
    float top[QUERIES], sum[QUERIES], o[QUERIES][PARTS] = {};
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        top[i] = LEAST, sum[i] = 0.0f;
        for (int c = lane; c < WIDTH; c += 32)
            query[i * WIDTH + c] =
                query0 + i < queries && c < head ? to_f32(q[(query0 + i) * q_token + c]) * (scale * LOG2_E) : 0.0f;
    }

    for (int key0 = 0; key0 < keys; key0 += 32) {
        __syncthreads();
        load_rows<WIDTH>(tile, k, k_token, key0, keys, head);
        __syncthreads();

        const int key = key0 + lane;
        float score[QUERIES] = {};
        for (int c = 0; c < head; c += 4) {
            float x[4];
#pragma unroll
            for (int j = 0; j < 4; j++) x[j] = tile[lane * (WIDTH + 1) + c + j];
#pragma unroll
            for (int i = 0; i < QUERIES; i++) {
                const float4 y = *(const float4*)(query + i * WIDTH + c);
                score[i] += x[0] * y.x + x[1] * y.y + x[2] * y.z + x[3] * y.w;
            }
        }

        const float bias = key_bias && key < keys ? key_bias[key] : 0.0f;
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            float more = bias;
            if (pair_bias && key < keys && query0 + i < queries)
                more += pair_bias[(query0 + i) * (long long)keys + key];
            score[i] = key < keys ? score[i] + more * LOG2_E : -infinity();
            const float most = fmaxf(top[i], warp_max(score[i]));
            const float shrink = exp2_approx(top[i] - most), weight = exp2_approx(score[i] - most);
            top[i] = most;
            sum[i] = sum[i] * shrink + weight;
            weights[i * 32 + lane] = weight;
#pragma unroll
            for (int part = 0; part < PARTS; part++) o[i][part] *= shrink;
        }

        __syncthreads();
        load_rows<WIDTH>(tile, v, v_token, key0, keys, head);
        __syncthreads();
        for (int j = 0; j < 32; j += 4) {
            float4 weight[QUERIES];
#pragma unroll
            for (int i = 0; i < QUERIES; i++) weight[i] = *(const float4*)(weights + i * 32 + j);
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                const float* x = tile + j * (WIDTH + 1) + part * 32 + lane;
                const float x0 = x[0], x1 = x[WIDTH + 1], x2 = x[2 * (WIDTH + 1)], x3 = x[3 * (WIDTH + 1)];
#pragma unroll
                for (int i = 0; i < QUERIES; i++)
                    o[i][part] += weight[i].x * x0 + weight[i].y * x1 + weight[i].z * x2 + weight[i].w * x3;
            }
        }
    }

#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        const float all = warp_sum(sum[i]), share = all > 0.0f ? 1.0f / all : 0.0f;
        if (query0 + i >= queries) continue;
#pragma unroll
        for (int part = 0; part < PARTS; part++)
            if (part * 32 + lane < head)
                store_f32(out + (query0 + i) * o_token + part * 32 + lane, o[i][part] * share);
    }
}

template <typename T>
__device__ __forceinline__ void attend_any(const T* q, const T* k, const T* v, T* out, const float* key_bias,
                                           const float* pair_bias, int queries, int keys, int head, long long q_token,
                                           long long q_batch, long long k_token, long long k_batch, long long v_token,
                                           long long v_batch, long long o_token, long long o_batch, float scale) {
    q += blockIdx.z * q_batch + blockIdx.y * head;
    k += blockIdx.z * k_batch + blockIdx.y * head;
    v += blockIdx.z * v_batch + blockIdx.y * head;
    out += blockIdx.z * o_batch + blockIdx.y * head;
    if (key_bias) key_bias += blockIdx.z * (long long)keys;
    if (pair_bias) pair_bias += (long long)blockIdx.y * queries * keys;
    if (head <= 64)
        attend<64>(q, k, v, out, key_bias, pair_bias, queries, keys, head, q_token, k_token, v_token, o_token, scale);
    else if (head <= 128)
        attend<128>(q, k, v, out, key_bias, pair_bias, queries, keys, head, q_token, k_token, v_token, o_token, scale);
    else
        attend<256>(q, k, v, out, key_bias, pair_bias, queries, keys, head, q_token, k_token, v_token, o_token, scale);
}

#define ATTENTION(NAME, T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128, 3)                                                                  \
    NAME(const T* q, const T* k, const T* v, T* out, const float* key_bias, const float* pair_bias, int queries,       \
         int keys, int, int head, long long q_token, long long q_batch, long long k_token, long long k_batch,          \
         long long v_token, long long v_batch, long long o_token, long long o_batch, float scale) {                    \
        attend_any(q, k, v, out, key_bias, pair_bias, queries, keys, head, q_token, q_batch, k_token, k_batch,         \
                   v_token, v_batch, o_token, o_batch, scale);                                                         \
    }

ATTENTION(attention_bf16, Bf16)
ATTENTION(attention_f32, float)
