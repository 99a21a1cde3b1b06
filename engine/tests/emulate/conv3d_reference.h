// The convolution after its definition, in f64, and what all of its kernels are tested with.
#pragma once

#include "check.h"

struct Case {
    int frames, height, width, channels, outputs, before, mode, patch_time = 1, patch = 1;
    bool biased = true;

    int places() const { return mode == SPREAD || mode == SPREAD_RESIDUAL ? 8 : 1; }
    size_t pixels() const { return (size_t)frames * height * width; }
    size_t len() const {
        if (places() == 8) return (size_t)(2 * frames - 1) * 4 * height * width * (outputs / 8);
        return pixels() * outputs;
    }
};

template <typename T>
struct Given {
    Buffer<T> x, weight;
    Buffer<float> bias;

    explicit Given(const Case& c)
        : x((size_t)c.frames * (c.height + 2) * (c.width + 2) * c.channels),
          weight((size_t)c.outputs * 27 * c.channels), bias(c.outputs) {
        fill(x, 1);
        fill(weight, 2, 1.0f / std::sqrt(27.0f * c.channels));
        fill(bias, 3);
        for (size_t i = 0; i < x.len; i++) {
            const size_t pixel = i / c.channels, column = pixel % (c.width + 2), row = pixel / (c.width + 2) % (c.height + 2);
            if (column == 0 || column == (size_t)c.width + 1 || row == 0 || row == (size_t)c.height + 1) store_f32(&x[i], 0);
        }
    }

    double input(const Case& c, int frame, int y, int x_, int channel) const {
        const int seen = std::min(std::max(frame, 0), c.frames - 1);
        return to_f32(x[(((size_t)seen * (c.height + 2) + y + 1) * (c.width + 2) + x_ + 1) * c.channels + channel]);
    }

    double output(const Case& c, int frame, int y, int x_, int j) const {
        double sum = c.biased ? bias[j] : 0;
        for (int tap = 0; tap < 27; tap++)
            for (int channel = 0; channel < c.channels; channel++)
                sum += input(c, frame + tap / 9 - c.before, y + tap / 3 % 3 - 1, x_ + tap % 3 - 1, channel) *
                       to_f32(weight[((size_t)j * 27 + tap) * c.channels + channel]);
        return sum;
    }
};

// Compares every output that `run(given, bias, out)` has written.
template <typename T, typename Run>
void check_outputs(const char* name, const Case& c, double tolerance, Run run) {
    const Given<T> given(c);
    Buffer<T> kept(c.len());
    Buffer<float> shown(c.mode == FRAMES ? c.len() : 0);
    std::vector<double> old(c.len(), 0.0);
    if (c.mode == ADD) {
        fill(kept, 4);
        for (size_t i = 0; i < kept.len; i++) old[i] = to_f32(kept[i]);
    }
    void* out = c.mode == FRAMES ? (void*)shown.data : (void*)kept.data;
    const float* bias = c.biased ? given.bias.data : nullptr;
    run(given, bias, out);
    for (size_t i = 0; i < c.len(); i++) {
        // By where an element lies, what it must be.
        int frame, y, x, j;
        double added = 0;
        if (c.mode == FRAMES) {
            const int run = c.width * c.patch, lines = c.height * c.patch;
            const int colour = i % 3, column = i / 3 % run, row = i / 3 / run % lines, time = i / 3 / run / lines;
            frame = time / c.patch_time, y = row / c.patch, x = column / c.patch;
            j = ((time % c.patch_time * c.patch + row % c.patch) * c.patch + column % c.patch) * 3 + colour;
        } else if (c.places() == 8) {
            const int channels = c.outputs / 8, channel = i % channels;
            const int column = i / channels % (2 * c.width), row = i / channels / (2 * c.width) % (2 * c.height);
            const int time = i / channels / (2 * c.width) / (2 * c.height) + 1;
            frame = time / 2, y = row / 2, x = column / 2;
            const int place = time % 2 * 4 + row % 2 * 2 + column % 2;
            j = place * channels + channel;
            if (c.mode == SPREAD_RESIDUAL) added = given.input(c, frame, y, x, channel % (c.channels / 8) * 8 + place);
        } else {
            j = i % c.outputs, x = i / c.outputs % c.width, y = i / c.outputs / c.width % c.height;
            frame = i / c.outputs / c.width / c.height;
            added = old[i];
        }
        const float got = c.mode == FRAMES ? shown[i] : to_f32(kept[i]);
        expect_near(got, given.output(c, frame, y, x, j) + added, c.mode == FRAMES ? 1e-5 : tolerance, name, i);
    }
}

// Runs `kernel` by blocks of `tile_pixels`, of `line` a row, and `tile_outputs`.
template <typename T, typename Kernel>
void check_case(const char* name, Kernel kernel, emulate::Order order, const Case& c, int line, int threads,
                int tile_pixels, int tile_outputs, size_t shared_bytes, double tolerance) {
    const int pixels = c.height * line - (line - c.width);
    const int columns = (c.outputs + tile_outputs - 1) / tile_outputs;
    const int blocks = c.frames * ((pixels + tile_pixels - 1) / tile_pixels) * columns;
    check_outputs<T>(name, c, tolerance, [&](const Given<T>& given, const float* bias, void* out) {
        emulate::launch(order, kernel, dim3(blocks), dim3(threads), shared_bytes, given.x.data, given.weight.data,
                        bias, out, c.frames, c.height, c.width, c.channels, c.outputs, c.before, c.mode, c.patch_time,
                        c.patch);
    });
}
