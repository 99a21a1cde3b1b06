// How flash_sm90.cu cuts its work: into tiles of queries, and shared memory into tiles and barriers.
#pragma once

#include "hopper.cuh"

// Where things are and how many. Strides in elements.
struct FlashShape {
    int queries, keys, heads, batch;
    long long out_token, out_batch, bias_batch;
    float scale;
};

// How a variant cuts the work, and where its tiles and barriers lie in shared memory (bytes from a multiple of 1024).
//
// HEAD: elements of a head, 64 or 128. GROUPS: consumer groups, 2 or 3. KEYS: keys of a tile. STAGES: tiles of keys
// and as many of values in flight. QUERIES: tiles of queries in flight. LAZY: whether sums wait with
// being rescaled until a row's greatest score has grown by much. BIAS: whether there is one.
template <int HEAD_, int GROUPS_, int KEYS_, int STAGES_, int QUERIES_, bool LAZY_, bool BIAS_>
struct FlashPlan {
    static constexpr int HEAD = HEAD_, GROUPS = GROUPS_, KEYS = KEYS_, STAGES = STAGES_, QUERIES = QUERIES_;
    static constexpr bool LAZY = LAZY_, BIAS = BIAS_;

    static constexpr int THREADS = (GROUPS + 1) * GROUP_THREADS;
    static constexpr int CONSUMER_REGISTERS = GROUPS == 2 ? 240 : 160, PRODUCER_REGISTERS = GROUPS == 2 ? 24 : 32;

    // A tile lies as HEAD / 64 panels of rows of 64 elements (128 bytes).
    static constexpr int QUERY_PANEL = 64 * 128, QUERY_TILE = HEAD / 64 * QUERY_PANEL;
    static constexpr int KEY_PANEL = KEYS * 128, KEY_TILE = HEAD / 64 * KEY_PANEL;

    static constexpr int QUERY_TILES = 0;
    static constexpr int KEY_TILES = QUERY_TILES + QUERIES * GROUPS * QUERY_TILE;
    static constexpr int VALUE_TILES = KEY_TILES + STAGES * KEY_TILE;
    static constexpr int BARRIERS = VALUE_TILES + STAGES * KEY_TILE;

    static constexpr int QUERY_FULL = BARRIERS, QUERY_EMPTY = QUERY_FULL + 8 * QUERIES * GROUPS;
    static constexpr int KEY_FULL = QUERY_EMPTY + 8 * QUERIES * GROUPS, KEY_EMPTY = KEY_FULL + 8 * STAGES;
    static constexpr int VALUE_FULL = KEY_EMPTY + 8 * STAGES, VALUE_EMPTY = VALUE_FULL + 8 * STAGES;
    static constexpr int END = VALUE_EMPTY + 8 * STAGES;

    // With room to round the start up.
    static constexpr int SHARED_BYTES = END + 1024;

    static_assert(KEY_PANEL % 1024 == 0, "swizzled panels start at multiples of 1024 bytes");
};

// Which queries of which head of which batch item, heads of one item next to each other so that the blocks at work
// share keys and values in the cache.
struct FlashTile {
    int query, head, item;

    template <class Plan>
    static __device__ __forceinline__ FlashTile at(int tile, const FlashShape& shape) {
        const int rows = Plan::GROUPS * 64, per_head = (shape.queries + rows - 1) / rows;
        const int head = tile / per_head;
        return {(tile - head * per_head) * rows, head % shape.heads, head / shape.heads};
    }

    template <class Plan>
    static __device__ __forceinline__ int count(const FlashShape& shape) {
        const int rows = Plan::GROUPS * 64;
        return (shape.queries + rows - 1) / rows * shape.heads * shape.batch;
    }
};
