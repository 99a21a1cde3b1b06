// Runs a CUDA kernel on the CPU, so that a machine without a GPU can test it: include this first, then the .cu.
//
// Blocks run one after another. Each thread of a block is a fiber that runs until it must wait for its warp or its
// block; `Order` chooses who goes on, and a kernel with a race gives other numbers in another order. What a kernel
// has not written is NaN: shared memory before each block, and the memory of a `Buffer` (check.h). Threads of a warp
// must come to the same collective, 16 bytes must be aligned, and what lies outside a buffer may not be touched: all
// of that ends the program with a message. It never says anything about speed, and not every race shows itself.
#pragma once

#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <vector>

#define CROFT_EMULATED
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// One block runs at a time, so its shared variables can be the program's. Nothing else here is local to a thread: what
// the linker gathers under this name is the shared memory, and can be poisoned whole.
#define __shared__ static thread_local

struct uint2 { unsigned int x, y; } __align__(8);
struct uint3 { unsigned int x, y, z; };
struct uint4 { unsigned int x, y, z, w; } __align__(16);
struct int2 { int x, y; } __align__(8);
struct int4 { int x, y, z, w; } __align__(16);
struct float2 { float x, y; } __align__(8);
struct float4 { float x, y, z, w; } __align__(16);
struct dim3 {
    unsigned int x, y, z;
    dim3(unsigned int x, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

inline uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim(1), gridDim(1);

using std::max;
using std::min;

namespace emulate {

// Who runs first, and when asynchronous copies land: as late as the kernel's waits allow, or at once.
enum class Order { Ascending, Descending, Shuffled };
inline constexpr Order ORDERS[] = {Order::Ascending, Order::Descending, Order::Shuffled};

inline constexpr size_t STACK_BYTES = 256 << 10;
// What a block may have on the smallest of our architectures (sm_86, sm_89, sm_120); hopper.h allows more.
inline size_t shared_bytes_max = 99 << 10;

// `Waits`: until what `ready` asks about has come to pass.
enum class State { Runs, AtWarp, AtBlock, Waits, Ended };

struct Copy {
    unsigned char* to;
    unsigned char bytes[16];
};

struct Thread {
    uint3 index;
    State state;
    bool entered;
    ucontext_t entry;
    jmp_buf here;
    unsigned char* stack = nullptr;
    // What it has come to do with its warp: one function for all 32, and its own part of the arguments.
    void (*perform)(void* const* parts);
    void* part;
    std::function<bool()> ready;
    // Asynchronous copies, group by group; the last group is still open.
    std::deque<std::vector<Copy>> copies;
};

// What a card has beside the threads of a block, and threads wait for: see hopper.h.
struct Beside {
    // A block of so many threads begins.
    virtual void start(size_t threads) = 0;
    // Lets one of the things under way come to pass; whether there was one.
    virtual bool advance() = 0;
    // The block has ended.
    virtual void finish() = 0;
};

inline Beside* beside;
inline std::vector<Thread> threads;
inline Thread* current;
inline jmp_buf scheduler;
inline std::function<void()> body;
inline Order order;
inline unsigned char* dynamic_shared;
inline size_t dynamic_shared_bytes;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "block (%u, %u, %u), thread (%u, %u, %u): %s\n", blockIdx.x, blockIdx.y, blockIdx.z,
                 threadIdx.x, threadIdx.y, threadIdx.z, what);
    std::fflush(stderr);
    _exit(1);
}

// Memory that ends `bytes` after the result, give or take alignment, with a forbidden page on either side.
inline unsigned char* fenced(size_t bytes, size_t align) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
    void* all = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) fail("no memory");
    unsigned char* start = (unsigned char*)all + page;
    if (mprotect(start, inner, PROT_READ | PROT_WRITE) != 0) fail("no memory");
    return start + inner - (bytes + align - 1) / align * align;
}

// Back to the scheduler, until it sends the thread on.
__attribute__((noinline)) inline void wait(State why) {
    current->state = why;
    if (_setjmp(current->here) == 0) _longjmp(scheduler, 1);
}

// Goes on once `ready` says so, which it says once: it may take what it has waited for.
template <typename Ready>
void wait_until(Ready ready) {
    if (ready()) return;
    current->ready = ready;
    wait(State::Waits);
}

// Meets the 31 others of the warp; the last to come does it for all.
template <typename Part>
void together(void (*perform)(Part* const*), Part& part) {
    current->perform = (void (*)(void* const*))perform;
    current->part = &part;
    wait(State::AtWarp);
}

inline void entry() {
    body();
    current->state = State::Ended;
    _longjmp(scheduler, 1);
}

__attribute__((noinline)) inline void go_on(Thread& thread) {
    current = &thread;
    threadIdx = thread.index;
    thread.state = State::Runs;
    if (_setjmp(scheduler) != 0) return;
    if (thread.entered) _longjmp(thread.here, 1);
    thread.entered = true;
    setcontext(&thread.entry);
}

// Runs the 32 threads from `first` to their next collective, barrier or end, and does the collective.
inline void step(size_t first) {
    void* parts[32];
    void (*perform)(void* const*) = nullptr;
    size_t waiting = 0, to_come = 0;
    for (size_t i = 0; i < 32; i++) {
        Thread& thread = threads[first + (order == Order::Descending ? 31 - i : i)];
        if (thread.state == State::Runs) go_on(thread);
    }
    for (size_t i = 0; i < 32; i++) {
        Thread& thread = threads[first + i];
        to_come += thread.state == State::Waits;
        if (thread.state != State::AtWarp) continue;
        waiting++;
        parts[i] = thread.part;
        if (waiting > 1 && thread.perform != perform) fail("threads of its warp are at different collectives");
        perform = thread.perform;
    }
    if (waiting == 0 || to_come != 0) return;
    if (waiting != 32) fail("only some threads of its warp are at a collective");
    perform(parts);
    for (size_t i = 0; i < 32; i++) threads[first + i].state = State::Runs;
}

// Fills the program's thread-local variables, which are the kernel's `__shared__` ones, with NaN.
inline void poison_static_shared() {
    dl_iterate_phdr(
        [](dl_phdr_info* program, size_t, void*) {
            for (int i = 0; i < program->dlpi_phnum; i++)
                if (program->dlpi_phdr[i].p_type == PT_TLS && program->dlpi_tls_data)
                    std::memset(program->dlpi_tls_data, 0xff, program->dlpi_phdr[i].p_memsz);
            return 1; // The first one is the program; libraries are left alone.
        },
        nullptr);
}

inline void run_block(std::mt19937& random) {
    poison_static_shared();
    if (beside) beside->start(threads.size());
    std::memset(dynamic_shared, 0xff, dynamic_shared_bytes);
    for (Thread& thread : threads) {
        thread.state = State::Runs;
        thread.entered = false;
        thread.copies.assign(1, {});
        getcontext(&thread.entry);
        thread.entry.uc_stack = {.ss_sp = thread.stack, .ss_flags = 0, .ss_size = STACK_BYTES};
        thread.entry.uc_link = nullptr;
        makecontext(&thread.entry, entry, 0);
    }
    std::vector<size_t> warps;
    for (size_t first = 0; first < threads.size(); first += 32) warps.push_back(first);
    if (order == Order::Descending) std::reverse(warps.begin(), warps.end());

    auto runs = [](const Thread& thread) { return thread.state == State::Runs; };
    while (true) {
        bool any = false;
        if (beside && order == Order::Shuffled && random() % 4 == 0) beside->advance();
        for (Thread& thread : threads)
            if (thread.state == State::Waits && thread.ready()) thread.state = State::Runs;
        if (order == Order::Shuffled) std::shuffle(warps.begin(), warps.end(), random);
        for (size_t first : warps)
            while (std::any_of(&threads[first], &threads[first] + 32, runs)) {
                any = true;
                step(first);
                // One step and then another warp, or one warp as far as it comes.
                if (order == Order::Shuffled && random() % 4 != 0) break;
            }
        if (any || (beside && beside->advance())) continue;
        size_t ended = 0;
        for (Thread& thread : threads) {
            ended += thread.state == State::Ended;
            threadIdx = thread.index;
            if (thread.state == State::Waits) fail("waits for what never comes to pass");
        }
        if (ended == threads.size()) break;
        if (ended != 0) fail("some threads of its block are at a barrier, and others have ended");
        for (Thread& thread : threads) thread.state = State::Runs;
    }
    if (beside) beside->finish();
}

inline void on_signal(int signal) {
    fail(signal == SIGSEGV || signal == SIGBUS ? "touched memory that is not its own"
                                               : "misaligned, out of an array's bounds, or an overflow");
}

template <typename... Parameters, typename... Arguments>
void launch(Order who, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Arguments... arguments) {
    for (int trap : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP}) signal(trap, on_signal);
    const size_t count = (size_t)block.x * block.y * block.z;
    if (count == 0 || count > 1024 || count % 32 != 0) fail("a block is whole warps, 1024 threads at most");
    if (shared_bytes > shared_bytes_max) fail("more shared memory than a block may have");
    order = who;
    gridDim = grid, blockDim = block;
    body = [=] { kernel(arguments...); };
    while (threads.size() < count) threads.emplace_back();
    threads.resize(count);
    for (size_t i = 0; i < count; i++) {
        threads[i].index = {(unsigned int)(i % block.x), (unsigned int)(i / block.x % block.y),
                            (unsigned int)(i / block.x / block.y)};
        if (!threads[i].stack) threads[i].stack = fenced(STACK_BYTES, 16);
    }
    dynamic_shared_bytes = shared_bytes;
    dynamic_shared = fenced(shared_bytes, 128);
    std::mt19937 random(1);
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block(random);
}

} // namespace emulate

#include "instructions.h"
