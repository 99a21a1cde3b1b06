// Attention without a mask of causality on Hopper: out = softmax(q k^T scale + bias) v, bf16 with f32 softmax and f32
// sums, and never a matrix of queries by keys in memory.
//
// A block takes tiles of 64 queries per consumer group, one after another. One warp only copies (queries, then keys
// and values through rings in shared memory); each consumer group multiplies its 64 queries with a tile of keys,
// takes the softmax in registers and multiplies with the tile of values. The product with the next keys is asked for
// before the product with the current values, so that the tensor cores work while the softmax is taken.
//
// The last tile of keys comes first: only it can be ragged.
#include "flash_sm90.cuh"

template <class Plan>
__device__ __forceinline__ void flash_copy(const TensorMap* q, const TensorMap* k, const TensorMap* v,
                                           const FlashShape& shape, u32 shared) {
    const int key_tiles = (shape.keys + Plan::KEYS - 1) / Plan::KEYS;
    Ring<Plan::QUERIES> queries;
    Ring<Plan::STAGES> keys, values;

    auto copy = [&](const TensorMap* map, u32 tiles, u32 full, u32 empty, Ring<Plan::STAGES>& ring, int tile,
                    const FlashTile& at) {
        barrier_wait(empty + 8 * ring.slot, ring.parity ^ 1);
        barrier_arrive_expecting(full + 8 * ring.slot, Plan::KEY_TILE);
#pragma unroll
        for (int panel = 0; panel < Plan::HEAD / 64; panel++)
            copy_box(tiles + ring.slot * Plan::KEY_TILE + panel * Plan::KEY_PANEL, map, full + 8 * ring.slot,
                     panel * 64, at.head, tile * Plan::KEYS, at.item);
        ring.step();
    };
    auto copy_keys = [&](int tile, const FlashTile& at) {
        copy(k, shared + Plan::KEY_TILES, shared + Plan::KEY_FULL, shared + Plan::KEY_EMPTY, keys, tile, at);
    };
    auto copy_values = [&](int tile, const FlashTile& at) {
        copy(v, shared + Plan::VALUE_TILES, shared + Plan::VALUE_FULL, shared + Plan::VALUE_EMPTY, values, tile, at);
    };

    const int tiles = FlashTile::count<Plan>(shape);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const FlashTile at = FlashTile::at<Plan>(tile, shape);
        copy_keys(key_tiles - 1, at);
#pragma unroll
        for (int group = 0; group < Plan::GROUPS; group++) {
            const int slot = queries.slot * Plan::GROUPS + group;
            const u32 full = shared + Plan::QUERY_FULL + 8 * slot;
            barrier_wait(shared + Plan::QUERY_EMPTY + 8 * slot, queries.parity ^ 1);
            barrier_arrive_expecting(full, Plan::QUERY_TILE);
#pragma unroll
            for (int panel = 0; panel < Plan::HEAD / 64; panel++)
                copy_box(shared + Plan::QUERY_TILES + slot * Plan::QUERY_TILE + panel * Plan::QUERY_PANEL, q, full,
                         panel * 64, at.head, at.query + group * 64, at.item);
        }
        queries.step();
        for (int key_tile = key_tiles - 2; key_tile >= 0; key_tile--) {
            copy_keys(key_tile, at);
            copy_values(key_tile + 1, at);
        }
        copy_values(0, at);
    }
}

// Running softmax of the two rows a thread has part of: the greatest score so far (times scale and log2 e where there
// is a bias, plain otherwise), and this thread's part of the sum.
struct FlashRows {
    float top[2], sum[2];
};

__device__ __forceinline__ float over_quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

__device__ __forceinline__ float over_quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Scores (of all rows of the group, this thread's part) become numerators; `shrink` is what earlier sums and outputs
// must be multiplied with. `log2_scale` is the scale times log2 e.
template <class Plan>
__device__ __forceinline__ void flash_softmax(float (&scores)[Plan::KEYS / 2], FlashRows& rows, float (&shrink)[2],
                                              float log2_scale) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = rows.top[r];
#pragma unroll
        for (int i = 2 * r; i < Plan::KEYS / 2; i += 4) top = fmaxf(top, fmaxf(scores[i], scores[i + 1]));
        top = over_quad_max(top);
        // Numerators may grow to 2^8 before the sums are rescaled: that changes no bit of their relative precision.
        if (Plan::LAZY && (top - rows.top[r]) * log2_scale <= 8.0f) top = rows.top[r];
        // A row without a key that counts has -inf everywhere, and must not become NaN.
        const float base = Plan::BIAS && top == -infinity() ? 0.0f : top * log2_scale;
        shrink[r] = Plan::LAZY && top == rows.top[r] ? 1.0f : exp2_approx(rows.top[r] * log2_scale - base);
        rows.top[r] = top;
        float sum = rows.sum[r] * shrink[r];
#pragma unroll
        for (int i = 2 * r; i < Plan::KEYS / 2; i += 4) {
            scores[i] = exp2_approx(scores[i] * log2_scale - base);
            scores[i + 1] = exp2_approx(scores[i + 1] * log2_scale - base);
            sum += scores[i] + scores[i + 1];
        }
        rows.sum[r] = sum;
    }
}

template <int COUNT>
__device__ __forceinline__ void flash_shrink(float (&out)[COUNT], const float (&shrink)[2]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) out[i] *= shrink[i / 2 % 2];
}

// What is added to the scaled scores of a tile of keys, -inf past the last key: two values per block of eight columns.
template <class Plan>
__device__ __forceinline__ void flash_load_bias(float (&bias)[Plan::KEYS / 4], const float* from, int tile,
                                                const FlashShape& shape) {
    const int first = tile * Plan::KEYS + threadIdx.x % 4 * 2, present = shape.keys - first;
    from += first;
    hold(from);
#pragma unroll
    for (int i = 0; i < Plan::KEYS / 4; i++) {
        const int key = i / 2 * 8 + i % 2;
        bias[i] = key < present ? __ldg(from + key) : -infinity();
    }
}

template <class Plan>
__device__ __forceinline__ void flash_add_bias(float (&scores)[Plan::KEYS / 2], const float (&bias)[Plan::KEYS / 4],
                                               float log2_scale) {
#pragma unroll
    for (int i = 0; i < Plan::KEYS / 2; i++)
        scores[i] = scores[i] * log2_scale + bias[i / 4 * 2 + i % 2] * 1.4426950408889634f;
}

template <class Plan>
__device__ __forceinline__ void flash_drop_tail(float (&scores)[Plan::KEYS / 2], int tile, const FlashShape& shape) {
    const int present = shape.keys - tile * Plan::KEYS - threadIdx.x % 4 * 2;
    if (shape.keys - tile * Plan::KEYS >= Plan::KEYS) return;
#pragma unroll
    for (int i = 0; i < Plan::KEYS / 2; i++)
        if (i / 4 * 8 + i % 2 >= present) scores[i] = -infinity();
}

// scores = queries * keys^T, asked for.
template <class Plan>
__device__ __forceinline__ void flash_ask_scores(float (&scores)[Plan::KEYS / 2], u64 queries, u64 keys) {
    hold(scores);
    products_fence();
#pragma unroll
    for (int k = 0; k < Plan::HEAD; k += 16)
        Product<Plan::KEYS>::from_shared(scores, operand_at(queries, k / 64 * Plan::QUERY_PANEL + k % 64 * 2),
                                         operand_at(keys, k / 64 * Plan::KEY_PANEL + k % 64 * 2), k > 0);
    products_commit();
    hold(scores);
}

// out += parts * values, asked for.
template <class Plan>
__device__ __forceinline__ void flash_ask_out(float (&out)[Plan::HEAD / 2], u32 (&parts)[Plan::KEYS / 4], u64 values) {
    hold(out);
    hold(parts);
    products_fence();
#pragma unroll
    for (int i = 0; i < Plan::KEYS / 16; i++)
        Product<Plan::HEAD>::from_registers(out, parts[4 * i], parts[4 * i + 1], parts[4 * i + 2], parts[4 * i + 3],
                                            operand_at(values, i * 2048));
    products_commit();
    hold(out);
}

template <int KEYS>
__device__ __forceinline__ void flash_round(u32 (&parts)[KEYS / 4], const float (&scores)[KEYS / 2]) {
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++) parts[i] = bf16_pair(scores[2 * i], scores[2 * i + 1]);
}

// Divides by the sums and writes the rows that exist. A quad of lanes writes 64 bytes of a row at a time.
template <class Plan>
__device__ __forceinline__ void flash_write(Bf16* to, const float (&out)[Plan::HEAD / 2], const FlashRows& rows,
                                            const FlashTile& at, int group, const FlashShape& shape) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float sum = over_quad_sum(rows.sum[r]);
        const float share = Plan::BIAS && sum == 0.0f ? 0.0f : 1.0f / sum;
        const int query = at.query + group * 64 + threadIdx.x % GROUP_THREADS / 32 * 16 + lane / 4 + 8 * r;
        Bf16* row = to + at.item * shape.out_batch + query * shape.out_token + at.head * Plan::HEAD;
#pragma unroll
        for (int block = 0; block < Plan::HEAD / 32; block++) {
            u32 x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int from = (block * 4 + i) * 4 + 2 * r;
                x[i] = bf16_pair(out[from] * share, out[from + 1] * share);
            }
            transpose_quad(x);
            if (query < shape.queries) *(uint4*)(row + block * 32 + lane % 4 * 8) = make_uint4(x[0], x[1], x[2], x[3]);
        }
    }
}

template <class Plan>
__device__ __forceinline__ void flash_consume(Bf16* to, const float* bias_from, const FlashShape& shape, u32 shared,
                                              int group) {
    constexpr int TURN = 2 * GROUP_THREADS;
    const int key_tiles = (shape.keys + Plan::KEYS - 1) / Plan::KEYS;
    const float log2_scale = shape.scale * 1.4426950408889634f;
    // With a bias the scores are already scaled when their greatest is sought.
    const float softmax_scale = Plan::BIAS ? 1.0f : log2_scale;
    const bool speaks = threadIdx.x % 32 == 0;
    Ring<Plan::QUERIES> queries;
    Ring<Plan::STAGES> keys, values;

    float scores[Plan::KEYS / 2], out[Plan::HEAD / 2];
    float bias[Plan::BIAS ? Plan::KEYS / 4 : 1];
    u32 parts[Plan::KEYS / 4];

    auto operand_of_keys = [&] { return operand(shared + Plan::KEY_TILES + keys.slot * Plan::KEY_TILE, 0, 1024); };
    auto operand_of_values = [&] {
        return operand(shared + Plan::VALUE_TILES + values.slot * Plan::KEY_TILE, Plan::KEY_PANEL, 1024);
    };
    auto wait_keys = [&] { barrier_wait(shared + Plan::KEY_FULL + 8 * keys.slot, keys.parity); };
    auto wait_values = [&] { barrier_wait(shared + Plan::VALUE_FULL + 8 * values.slot, values.parity); };
    auto free_keys = [&] {
        if (speaks) barrier_arrive(shared + Plan::KEY_EMPTY + 8 * keys.slot);
        keys.step();
    };
    auto free_values = [&] {
        if (speaks) barrier_arrive(shared + Plan::VALUE_EMPTY + 8 * values.slot);
        values.step();
    };

    // Groups take turns asking for the products of a round. The first turn is the first group's.
    if (group == Plan::GROUPS - 1) named_arrive(1, TURN);

    const int tiles = FlashTile::count<Plan>(shape);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const FlashTile at = FlashTile::at<Plan>(tile, shape);
        const float* bias_row = Plan::BIAS ? bias_from + at.item * shape.bias_batch : nullptr;
        const int query_slot = queries.slot * Plan::GROUPS + group;
        const u64 queries_operand = operand(shared + Plan::QUERY_TILES + query_slot * Plan::QUERY_TILE, 0, 1024);

        FlashRows rows = {{-infinity(), -infinity()}, {0.0f, 0.0f}};
        float shrink[2];
#pragma unroll
        for (int i = 0; i < Plan::HEAD / 2; i++) out[i] = 0.0f;

        if constexpr (Plan::BIAS) flash_load_bias<Plan>(bias, bias_row, key_tiles - 1, shape);
        barrier_wait(shared + Plan::QUERY_FULL + 8 * query_slot, queries.parity);
        wait_keys();
        flash_ask_scores<Plan>(scores, queries_operand, operand_of_keys());
        products_wait<0>();
        hold(scores);
        free_keys();
        if constexpr (Plan::BIAS) flash_add_bias<Plan>(scores, bias, log2_scale);
        else flash_drop_tail<Plan>(scores, key_tiles - 1, shape);
        flash_softmax<Plan>(scores, rows, shrink, softmax_scale);

        // The numerators of a tile are taken while the product with the values of the one before still runs, and the
        // wait for it stands at the start of the next round: within a round the assembler would draw it ahead.
        auto settle = [&](bool is_running) {
            products_wait<0>();
            hold(out);
            hold(parts);
            if (is_running) free_values();
            flash_round<Plan::KEYS>(parts, scores);
            if (!Plan::LAZY || __any_sync(0xffffffffu, shrink[0] < 1.0f || shrink[1] < 1.0f)) flash_shrink(out, shrink);
            hold(parts);
            hold(out);
        };

        for (int key_tile = key_tiles - 2; key_tile >= 0; key_tile--) {
            settle(key_tile < key_tiles - 2);
            if constexpr (Plan::BIAS) flash_load_bias<Plan>(bias, bias_row, key_tile, shape);
            wait_keys();
            named_sync(1 + group, TURN);
            flash_ask_scores<Plan>(scores, queries_operand, operand_of_keys());
            wait_values();
            flash_ask_out<Plan>(out, parts, operand_of_values());
            named_arrive(1 + (group + 1) % Plan::GROUPS, TURN);
            products_wait<1>();
            hold(scores);
            free_keys();
            if constexpr (Plan::BIAS) flash_add_bias<Plan>(scores, bias, log2_scale);
            flash_softmax<Plan>(scores, rows, shrink, softmax_scale);
        }

        if (speaks) barrier_arrive(shared + Plan::QUERY_EMPTY + 8 * query_slot);
        queries.step();
        settle(key_tiles > 1);
        wait_values();
        flash_ask_out<Plan>(out, parts, operand_of_values());
        products_wait<0>();
        hold(out);
        free_values();
        flash_write<Plan>(to, out, rows, at, group, shape);
    }
}

template <class Plan>
__device__ __forceinline__ void flash(const TensorMap* q, const TensorMap* k, const TensorMap* v, Bf16* to,
                                      const float* bias, const FlashShape& shape) {
    DYNAMIC_SHARED(memory);
    const u32 shared = (shared_address(memory) + 1023) & ~1023u;
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);

    if (threadIdx.x == 0) {
        tensor_map_prefetch(q);
        tensor_map_prefetch(k);
        tensor_map_prefetch(v);
        // A full barrier awaits the copying thread (and the bytes); an empty one a lane of every warp that reads.
        for (int i = 0; i < Plan::QUERIES * Plan::GROUPS; i++) {
            barrier_init(shared + Plan::QUERY_FULL + 8 * i, 1);
            barrier_init(shared + Plan::QUERY_EMPTY + 8 * i, 4);
        }
        for (int i = 0; i < Plan::STAGES; i++) {
            barrier_init(shared + Plan::KEY_FULL + 8 * i, 1);
            barrier_init(shared + Plan::KEY_EMPTY + 8 * i, 4 * Plan::GROUPS);
            barrier_init(shared + Plan::VALUE_FULL + 8 * i, 1);
            barrier_init(shared + Plan::VALUE_EMPTY + 8 * i, 4 * Plan::GROUPS);
        }
        barrier_init_done();
    }
    __syncthreads();

    if (warp < 4) {
        registers_give<Plan::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) flash_copy<Plan>(q, k, v, shape, shared);
    } else {
        registers_take<Plan::CONSUMER_REGISTERS>();
        flash_consume<Plan>(to, bias, shape, shared, warp / 4 - 1);
    }
}

// q (batch, queries, heads, head), k and v (batch, keys, heads, head) by their maps, out (batch, queries, heads * head)
// with rows that start at multiples of 16 bytes; bias (batch, keys) is added to the scaled scores.
#define FLASH_KERNEL(NAME, ...)                                                                                      \
    extern "C" __global__ void __launch_bounds__(FlashPlan<__VA_ARGS__>::THREADS, 1)                                 \
    NAME(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, \
         Bf16* out, const float* bias, int batch, int queries, int keys, int heads, long long out_token,             \
         long long out_batch, long long bias_batch, float scale) {                                                   \
        flash<FlashPlan<__VA_ARGS__>>(&q, &k, &v, out, bias,                                                         \
                                      {queries, keys, heads, batch, out_token, out_batch, bias_batch, scale});       \
    }

// Of seven that were measured on an H200, the fastest.
FLASH_KERNEL(flash_sm90_128, 128, 2, 176, 2, 1, true, false)
FLASH_KERNEL(flash_sm90_128_bias, 128, 2, 128, 2, 2, false, true)
FLASH_KERNEL(flash_sm90_64, 64, 3, 128, 2, 2, true, false)
FLASH_KERNEL(flash_sm90_64_bias, 64, 2, 128, 2, 2, false, true)
