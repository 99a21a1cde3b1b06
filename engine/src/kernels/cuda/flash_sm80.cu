// softmax(scale q k^T + key bias) v in bf16 on tensor cores, for heads 64 and 128 wide and any number of queries and keys
// (one at least), without the table of scores (the online softmax): sm_80 and later.
//
// A block owns QUERIES rows of one head and walks over the keys, KEYS at a time; a warp owns ROWS of the rows and needs
// no other warp for its softmax. The result of q k^T lies in registers as the next product wants its left side, so the
// weights never go to memory. While one of the two products runs, the other's tile is on its way into shared memory.
//
// A tile's rows are cut into chunks of 16 bytes; chunk c of row r is kept at c ^ (r % 8), so that ldmatrix, which reads
// one chunk of eight rows, and the copies, which write all chunks of a row, never meet a bank twice.
//
// Arguments: q (batch, queries, heads, head), k and v (batch, keys, heads, head), out like q, all with their own
// strides in elements from token to token and from batch to batch; key_bias (batch, keys) or null. Addresses and
// strides are multiples of 16 bytes; scale is positive. A row whose biases are all -inf becomes zeros.
// Launch: grid (queries / QUERIES rounded up, heads, batch), block WARPS * 32, and of dynamic shared memory
// (QUERIES + 2 KEYS) * head * 2 bytes.
#include "common.cuh"

// Starts to copy ROWS rows of HEAD elements into a tile; rows from `present` on become zeros. This thread copies the
// same chunk of every STEPth row: `to` and `from` are those of the first one.
template <int ROWS, int HEAD, int THREADS>
__device__ __forceinline__ void load_tile(SharedAddress to, const Bf16* from, long long token, int present) {
    constexpr int CHUNKS = HEAD / 8, STEP = THREADS / CHUNKS;
    static_assert(ROWS % STEP == 0 && STEP % 8 == 0, "chunks of rows that are alike modulo 8 are turned alike");
    present -= threadIdx.x / CHUNKS;
#pragma unroll
    for (int row = 0; row < ROWS; row += STEP) {
        copy_async_16(to + row * HEAD * 2, from, row < present);
        from += STEP * token;
    }
}

// Bytes from a row's start to chunk 2 * step + b, where turn is (b ^ row % 8) * 16. A turn is less than 128, so every
// fourth step is a constant away and needs no register of its own.
__device__ __forceinline__ SharedAddress turned(int step, SharedAddress turn) {
    return step / 4 * 128 + (step % 4 * 32 ^ turn);
}

template <int HEAD, int WARPS, int ROWS, int KEYS, bool KEEPS_QUERIES>
__device__ __forceinline__ void flash(const Bf16* q, const Bf16* k, const Bf16* v, Bf16* out, const float* key_bias,
                                      int queries, int keys, long long q_token, long long q_batch, long long k_token,
                                      long long k_batch, long long v_token, long long v_batch, long long o_token,
                                      long long o_batch, float scale) {
    constexpr int THREADS = WARPS * 32, QUERIES = WARPS * ROWS, ROW_BYTES = HEAD * 2;
    constexpr int M = ROWS / 16, STEPS = HEAD / 16, SCORES = KEYS / 8, OUTS = HEAD / 8, CHUNKS = HEAD / 8;
    DYNAMIC_SHARED(shared);
    const SharedAddress q_tile = shared_address(shared), k_tile = q_tile + QUERIES * ROW_BYTES,
                        v_tile = k_tile + KEYS * ROW_BYTES;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int query0 = blockIdx.x * QUERIES;

    // What this thread copies: a chunk of a row.
    const int copied_row = threadIdx.x / CHUNKS, copied_chunk = threadIdx.x % CHUNKS;
    const SharedAddress copied = (copied_row * CHUNKS + (copied_chunk ^ copied_row % 8)) * 16;
    q += blockIdx.z * q_batch + blockIdx.y * HEAD + (query0 + copied_row) * q_token + copied_chunk * 8;
    k += blockIdx.z * k_batch + blockIdx.y * HEAD + copied_row * k_token + copied_chunk * 8;
    v += blockIdx.z * v_batch + blockIdx.y * HEAD + copied_row * v_token + copied_chunk * 8;
    if (key_bias) key_bias += blockIdx.z * (long long)keys;

    // What this lane reads with ldmatrix: a row, and what its chunks are turned by. Matrices come rows first for q and
    // v (as the left side of a product, and transposed as the right side), chunks first for k.
    const int within = lane % 8, matrix = lane / 8;
    const SharedAddress low = (matrix % 2 * 8 + within) * ROW_BYTES, low_turn = (matrix / 2 ^ within) * 16;
    const SharedAddress q_row = q_tile + warp * ROWS * ROW_BYTES + low, v_row = v_tile + low;
    const SharedAddress k_row = k_tile + (matrix / 2 * 8 + within) * ROW_BYTES, k_turn = (matrix % 2 ^ within) * 16;

    // Less than any score, and finite, so that differences stay numbers.
    constexpr float LEAST = -1e30f;
    // Scores stay unscaled, and a bias is divided by the scale: the exponential multiplies anyway.
    const float scale_log2 = scale * 1.4426950408889634f;
    float o[M][OUTS][4] = {}, top[M][2], sum[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) top[m][0] = top[m][1] = LEAST, sum[m][0] = sum[m][1] = 0.0f;

    load_tile<QUERIES, HEAD, THREADS>(q_tile + copied, q, q_token, queries - query0);
    load_tile<KEYS, HEAD, THREADS>(k_tile + copied, k, k_token, keys);
    copy_async_commit();

    unsigned int kept[KEEPS_QUERIES ? M : 1][KEEPS_QUERIES ? STEPS : 1][4];
    if (KEEPS_QUERIES) {
        copy_async_wait<0>();
        __syncthreads();
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int step = 0; step < STEPS; step++)
                ldmatrix_x4(kept[m % (KEEPS_QUERIES ? M : 1)][step % (KEEPS_QUERIES ? STEPS : 1)],
                            q_row + m * 16 * ROW_BYTES + turned(step, low_turn));
    }

    for (int key0 = 0; key0 < keys; key0 += KEYS) {
        // The keys have come, and nobody reads the last values any more.
        copy_async_wait<0>();
        __syncthreads();
        load_tile<KEYS, HEAD, THREADS>(v_tile + copied, v, v_token, keys - key0);
        v += KEYS * v_token;
        copy_async_commit();

        float s[M][SCORES][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            unsigned int a[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
                if (KEEPS_QUERIES) {
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        a[m][i] = kept[m % (KEEPS_QUERIES ? M : 1)][step % (KEEPS_QUERIES ? STEPS : 1)][i];
                } else {
                    ldmatrix_x4(a[m], q_row + m * 16 * ROW_BYTES + turned(step, low_turn));
                }
            }
#pragma unroll
            for (int n = 0; n < SCORES; n += 2) {
                unsigned int b[4];
                ldmatrix_x4(b, k_row + n * 8 * ROW_BYTES + turned(step, k_turn));
#pragma unroll
                for (int m = 0; m < M; m++) {
                    mma_bf16(s[m][n], a[m], b[0], b[1]);
                    mma_bf16(s[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }

        // The values have come, and nobody reads these keys any more.
        copy_async_wait<0>();
        __syncthreads();
        k += KEYS * k_token;
        if (key0 + KEYS < keys) load_tile<KEYS, HEAD, THREADS>(k_tile + copied, k, k_token, keys - key0 - KEYS);
        copy_async_commit();

        if (key_bias || key0 + KEYS > keys) {
            const float bias_scale = 1.0f / scale;
#pragma unroll
            for (int n = 0; n < SCORES; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int key = key0 + n * 8 + lane % 4 * 2 + i;
                    const float bias = key >= keys ? -infinity() : key_bias ? key_bias[key] * bias_scale : 0.0f;
#pragma unroll
                    for (int m = 0; m < M; m++) s[m][n][i] += bias, s[m][n][2 + i] += bias;
                }
        }

        // Scores become weights; four lanes share a row.
        float shrink[M][2];
        bool has_grown = false;
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float most = top[m][half];
#pragma unroll
                for (int n = 0; n < SCORES; n++) most = fmaxf(most, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
                most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
                has_grown |= most > top[m][half];
                shrink[m][half] = exp2_approx((top[m][half] - most) * scale_log2);
                top[m][half] = most;
                const float base = most * scale_log2;
                float part = 0.0f;
#pragma unroll
                for (int n = 0; n < SCORES; n++)
#pragma unroll
                    for (int i = half * 2; i < half * 2 + 2; i++) {
                        s[m][n][i] = exp2_approx(s[m][n][i] * scale_log2 - base);
                        part += s[m][n][i];
                    }
                sum[m][half] = sum[m][half] * shrink[m][half] + part;
            }
        // After the first few tiles it is seldom that a row of the warp finds a new maximum.
        if (__any_sync(0xffffffffu, has_grown)) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < OUTS; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) o[m][n][i] *= shrink[m][i / 2];
        }

#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            unsigned int a[M][4];
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float(&pair)[4] = s[m][step * 2 + i / 2];
                    a[m][i] = bf16_pair(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
                }
#pragma unroll
            for (int n = 0; n < OUTS; n += 2) {
                unsigned int b[4];
                ldmatrix_x4_trans(b, v_row + step * 16 * ROW_BYTES + turned(n / 2, low_turn));
#pragma unroll
                for (int m = 0; m < M; m++) {
                    mma_bf16(o[m][n], a[m], b[0], b[1]);
                    mma_bf16(o[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    // Through the warp's own rows of the queries' tile, so that 16 bytes are written at once.
    unsigned char* const rows = shared + warp * ROWS * ROW_BYTES;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float all = sum[m][half];
            all += __shfl_xor_sync(0xffffffffu, all, 1);
            all += __shfl_xor_sync(0xffffffffu, all, 2);
            const float share = all > 0.0f ? 1.0f / all : 0.0f;
            const int row = m * 16 + half * 8 + lane / 4;
#pragma unroll
            for (int n = 0; n < OUTS; n++)
                *(unsigned int*)(rows + row * ROW_BYTES + (n ^ row % 8) * 16 + lane % 4 * 4) =
                    bf16_pair(o[m][n][half * 2] * share, o[m][n][half * 2 + 1] * share);
        }
    __syncwarp();
    out += blockIdx.z * o_batch + (query0 + warp * ROWS) * o_token + blockIdx.y * HEAD;
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS / 32; i++) {
        const int row = (i * 32 + lane) / CHUNKS, chunk = lane % CHUNKS;
        if (query0 + warp * ROWS + row < queries)
            *(uint4*)(out + row * o_token + chunk * 8) =
                *(const uint4*)(rows + row * ROW_BYTES + (chunk ^ row % 8) * 16);
    }
}

#define FLASH(NAME, HEAD, WARPS, ROWS, KEYS, KEEPS_QUERIES, BLOCKS)                                                    \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                                                   \
    NAME(const Bf16* q, const Bf16* k, const Bf16* v, Bf16* out, const float* key_bias, int queries, int keys, int,    \
         long long q_token, long long q_batch, long long k_token, long long k_batch, long long v_token,                \
         long long v_batch, long long o_token, long long o_batch, float scale) {                                       \
        flash<HEAD, WARPS, ROWS, KEYS, KEEPS_QUERIES>(q, k, v, out, key_bias, queries, keys, q_token, q_batch,         \
                                                      k_token, k_batch, v_token, v_batch, o_token, o_batch, scale);    \
    }

// Head 64.
FLASH(flash_sm80_64_bf16, 64, 4, 32, 64, true, 2)
// Head 128. Two blocks of the first fit an SM of sm_80 and sm_90, two of the narrow one fit sm_86, sm_89 and sm_120.
FLASH(flash_sm80_128_bf16, 128, 4, 32, 64, false, 2)
FLASH(flash_sm80_128_narrow_bf16, 128, 4, 32, 32, false, 2)
