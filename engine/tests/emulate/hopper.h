// The instructions of hopper.cuh, after the PTX ISA. Include this before a kernel that includes hopper.cuh.
//
// Copies of boxes and products of groups run beside the threads. By `Order` they come to pass as late as the kernel's
// waits allow (Ascending), as soon as they are asked for (Descending), or by chance, copies not in the order in which
// they were asked for. So a kernel that does not wait for one of them reads NaN, or what is old or too new.
//
// Not told: whether writes are fenced from what the copy engine and the tensor cores see of them, whether the compiler
// keeps its hands off registers that a product still uses, and how results of tensor cores round.
#pragma once

#include <map>

#include "emulator.h"

typedef unsigned int u32;
typedef unsigned long long u64;

namespace emulate {

// A tensor of bf16 and the box that is copied at once, innermost dimension first: what cuTensorMapEncodeTiled is told.
struct Boxes {
    const void* at;
    u64 dims[4];
    // Elements from one place to the next of each dimension but the innermost.
    u64 strides[3];
    u32 box[4];
};

template <typename TensorMap>
TensorMap encoded(const Boxes& boxes) {
    static_assert(sizeof(Boxes) <= sizeof(TensorMap));
    if ((uintptr_t)boxes.at % 16 != 0) fail("a tensor map of an address that is not aligned");
    for (u64 stride : boxes.strides)
        if (stride % 8 != 0) fail("a tensor map with a stride that is no multiple of 16 bytes");
    for (int i = 0; i < 4; i++)
        if (boxes.dims[i] == 0 || boxes.box[i] == 0 || boxes.box[i] > 256) fail("a tensor map of what may not be");
    if (boxes.box[0] != 64) fail("a box whose rows are not the 128 bytes of the swizzle");
    TensorMap map = {};
    std::memcpy(&map, &boxes, sizeof boxes);
    return map;
}

// The 16-byte pieces of eight rows of 128 bytes change places by the row.
inline u32 swizzled(u32 address) { return address ^ (address / 128 % 8) << 4; }

struct Barrier {
    int arrivals, missing;
    long long bytes;
    u32 phase;

    void arrive(int count, long long expected) {
        missing -= count, bytes += expected;
        if (missing < 0) fail("more threads arrive at a barrier than it awaits");
        if (missing == 0 && bytes == 0) phase++, missing = arrivals;
    }
};

// A barrier with a number.
struct Named {
    int arrived, awaited;
    u64 phase;
};

// d (64, columns) (+)= a (64, 16) * b (16, columns), asked for by a group of 128 threads.
struct Asked {
    int columns;
    bool from_shared, add;
    u64 a, b;
    // How many commits precede it.
    u64 batch;
    int parts;
    float* d[128];
    u32 registers[128][4];

    void run() const;
};

struct Group {
    std::deque<Asked> asked;
    u64 done = 0, next[128] = {}, batch[128] = {};

    // Runs what all have asked for of the batches before `limit`; whether none of them is left.
    bool finish(u64 limit) {
        for (; !asked.empty() && asked.front().batch < limit && asked.front().parts == 128; done++) {
            asked.front().run();
            asked.pop_front();
        }
        return asked.empty() || asked.front().batch >= limit;
    }
};

struct Hopper : Beside {
    std::mt19937 random;
    std::map<u32, Barrier> barriers;
    Named named[16];
    std::deque<std::function<void()>> copies;
    std::vector<Group> groups;
    // Registers of a thread when the block begins, and those that nobody has.
    int registers_first, registers_free;

    void start(size_t threads) override {
        barriers.clear();
        copies.clear();
        std::fill(named, named + 16, Named());
        groups.assign((threads + 127) / 128, {});
        registers_first = 65536 / (int)threads / 8 * 8;
        registers_free = 65536 - registers_first * (int)threads;
    }

    bool advance() override {
        if (copies.empty()) return false;
        const size_t which = order == Order::Shuffled ? random() % copies.size() : 0;
        const std::function<void()> copy = copies[which];
        copies.erase(copies.begin() + which);
        copy();
        return true;
    }

    void finish() override {
        if (!copies.empty()) fail("its block has ended, and a copy is still under way");
        for (const Group& group : groups)
            if (!group.asked.empty()) fail("its block has ended, and nobody has waited for a product");
    }

    Barrier& barrier(u32 at) {
        const auto found = barriers.find(at);
        if (found == barriers.end()) fail("a barrier that has not been initialised");
        return found->second;
    }

    void arrive_named(int id, int threads) {
        if (id < 1 || id > 15 || threads % 32 != 0) fail("no such barrier");
        Named& barrier = named[id];
        if (barrier.arrived != 0 && barrier.awaited != threads)
            fail("threads do not agree on how many a barrier awaits");
        barrier.awaited = threads;
        if (++barrier.arrived == threads) barrier.arrived = 0, barrier.phase++;
    }

    void ask(const Asked& product, float* d, const u32 (&registers)[4]) {
        const size_t thread = current - threads.data();
        Group& group = groups[thread / 128];
        const size_t member = thread % 128, place = group.next[member]++ - group.done;
        if (place == group.asked.size()) {
            group.asked.push_back(product);
            group.asked.back().batch = group.batch[member];
        }
        Asked& all = group.asked[place];
        if (all.columns != product.columns || all.from_shared != product.from_shared || all.add != product.add ||
            all.a != product.a || all.b != product.b || all.batch != group.batch[member])
            fail("threads of a group ask for different products");
        all.d[member] = d;
        std::copy(registers, registers + 4, all.registers[member]);
        const bool now = order == Order::Descending || (order == Order::Shuffled && random() % 2 == 0);
        if (++all.parts == 128 && now) group.finish(~(u64)0);
    }
};

inline Hopper hopper;

template <typename... Parameters, typename... Arguments>
void launch_hopper(Order who, void (*kernel)(Parameters...), int blocks, int threads, size_t shared_bytes,
                   Arguments... arguments) {
    shared_bytes_max = 227 << 10;
    beside = &hopper;
    launch(who, kernel, dim3(blocks), dim3(threads), shared_bytes, arguments...);
}

// What lies outside the tensor arrives as zeros.
inline void land(const Boxes& from, const int (&start)[4], u32 to, u32 barrier) {
    const u32 count = from.box[0] * from.box[1] * from.box[2] * from.box[3];
    for (u32 i = 0; i < count; i++) {
        u64 offset = 0;
        bool inside = true;
        u32 rest = i;
        for (int dim = 0; dim < 4; dim++) {
            const long long place = start[dim] + (long long)(rest % from.box[dim]);
            rest /= from.box[dim];
            inside &= place >= 0 && place < (long long)from.dims[dim];
            offset += (u64)place * (dim == 0 ? 1 : from.strides[dim - 1]);
        }
        const unsigned short x = inside ? ((const unsigned short*)from.at)[offset] : 0;
        std::memcpy(shared_bytes(swizzled(to + 2 * i), 2), &x, 2);
    }
    hopper.barrier(barrier).arrive(0, -2LL * count);
}

// An element of an operand in shared memory by its descriptor; `outer` counts rows of a, or columns of b.
inline float element(u64 operand, int outer, int k, bool k_along_rows) {
    const u32 start = (operand & 0x3fff) << 4, columns64 = (operand >> 16 & 0x3fff) << 4,
              rows8 = (operand >> 32 & 0x3fff) << 4;
    if (operand >> 62 != 1) fail("an operand without the 128-byte swizzle");
    if ((operand >> 49 & 7) != 0 || start % 1024 >= 128)
        fail("an operand that does not start with a unit of eight rows");
    const u32 at = k_along_rows ? start + outer / 8 * rows8 + outer % 8 * 128 + 2 * k
                                : start + outer / 64 * columns64 + k / 8 * rows8 + k % 8 * 128 + outer % 64 * 2;
    unsigned short bits;
    std::memcpy(&bits, shared_bytes(swizzled(at), 2), 2);
    return bf16(bits, 0);
}

inline void Asked::run() const {
    // Eight columns at a time, or this is what the tests wait for.
    typedef float Eight __attribute__((vector_size(32)));
    static float rows[64][16];
    static Eight across[16][32];
    for (int k = 0; k < 16; k++)
        for (int column = 0; column < columns; column++)
            across[k][column / 8][column % 8] = element(b, column, k, from_shared);
    if (from_shared) {
        for (int row = 0; row < 64; row++)
            for (int k = 0; k < 16; k++) rows[row][k] = element(a, row, k, true);
    } else {
        for (int thread = 0; thread < 128; thread++)
            for (int i = 0; i < 8; i++)
                rows[thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + thread % 4 * 2 + i % 2] =
                    bf16(registers[thread][i / 2], i % 2);
    }
    for (int row = 0; row < 64; row++)
        for (int block = 0; block < columns / 8; block++) {
            Eight sum = {};
            for (int k = 0; k < 16; k++) sum += rows[row][k] * across[k][block];
            for (int column = 0; column < 8; column++) {
                const int thread = row / 16 * 32 + row % 8 * 4 + column / 2;
                float& to = d[thread][block * 4 + row / 8 % 2 * 2 + column % 2];
                to = add ? to + sum[column] : sum[column];
            }
        }
}

} // namespace emulate

// From here on: hopper.cuh.

inline void barrier_init(u32 barrier, u32 arrivals) {
    if (barrier % 8 != 0) emulate::fail("a barrier that is not aligned");
    emulate::shared_bytes(barrier, 8);
    emulate::hopper.barriers[barrier] = {(int)arrivals, (int)arrivals, 0, 0};
}

inline void barrier_init_done() {}
inline void barrier_arrive(u32 barrier) { emulate::hopper.barrier(barrier).arrive(1, 0); }
inline void barrier_arrive_expecting(u32 barrier, u32 bytes) { emulate::hopper.barrier(barrier).arrive(1, bytes); }

inline void barrier_wait(u32 barrier, u32 parity) {
    const emulate::Barrier& at = emulate::hopper.barrier(barrier);
    emulate::wait_until([&at, parity] { return at.phase % 2 != parity; });
}

inline void named_arrive(int id, int threads) { emulate::hopper.arrive_named(id, threads); }

inline void named_sync(int id, int threads) {
    const u64& phase = emulate::hopper.named[id].phase;
    const u64 before = phase;
    named_arrive(id, threads);
    emulate::wait_until([&phase, before] { return phase != before; });
}

inline void tensor_map_prefetch(const void*) {}

inline void copy_box(u32 to, const void* map, u32 barrier, int x, int y, int z, int w) {
    emulate::Boxes from;
    std::memcpy(&from, map, sizeof from);
    if (to % 1024 != 0) emulate::fail("a box that does not start with a unit of eight rows");
    const auto copy = [=] { emulate::land(from, {x, y, z, w}, to, barrier); };
    if (emulate::order == emulate::Order::Descending) copy();
    else emulate::hopper.copies.push_back(copy);
}

template <int COUNT>
void registers_give() {
    static_assert(COUNT % 8 == 0 && COUNT >= 24);
    __syncwarp();
    if (COUNT > emulate::hopper.registers_first) emulate::fail("gives registers that it does not have");
    emulate::hopper.registers_free += emulate::hopper.registers_first - COUNT;
}

template <int COUNT>
void registers_take() {
    static_assert(COUNT % 8 == 0 && COUNT <= 256);
    __syncwarp();
    emulate::wait_until([] {
        const int more = COUNT - emulate::hopper.registers_first;
        if (emulate::hopper.registers_free < more) return false;
        emulate::hopper.registers_free -= more;
        return true;
    });
}

inline void products_fence() {}

inline void products_commit() {
    const size_t thread = emulate::current - emulate::threads.data();
    emulate::hopper.groups[thread / 128].batch[thread % 128]++;
}

template <int PENDING>
void products_wait() {
    const size_t thread = emulate::current - emulate::threads.data();
    emulate::Group& group = emulate::hopper.groups[thread / 128];
    const u64 batch = group.batch[thread % 128], limit = batch > PENDING ? batch - PENDING : 0;
    emulate::wait_until([&group, limit] { return group.finish(limit); });
}

template <typename T>
void hold(T&) {}

template <int N>
struct Product {
    static void from_shared(float (&d)[N / 2], u64 a, u64 b, int add) {
        emulate::hopper.ask({.columns = N, .from_shared = true, .add = add != 0, .a = a, .b = b}, d, {});
    }
    static void from_registers(float (&d)[N / 2], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
        emulate::hopper.ask({.columns = N, .from_shared = false, .add = true, .b = b}, d, {a0, a1, a2, a3});
    }
};
