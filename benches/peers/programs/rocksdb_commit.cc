// Durable single-row commits by threads of one process: Put with WriteOptions.sync = true.
// Arguments: folder, threads, seconds, row bytes. Prints commits/s, p50 and p99 in microseconds.
#include <rocksdb/db.h>
#include <rocksdb/version.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kWarmUpSeconds = 0.5;

// Keys are big-endian, so they arrive in the order in which they sort, as for every other peer.
std::string KeyBytes(uint64_t key) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, key >>= 8) bytes[i] = static_cast<char>(key & 0xff);
  return bytes;
}

[[noreturn]] void Fail(const char* doing, const rocksdb::Status& status) {
  std::fprintf(stderr, "%s: %s\n", doing, status.ToString().c_str());
  std::exit(1);
}

struct Load {
  rocksdb::DB* db;
  std::string value;
  Clock::time_point begins, ends;
  std::atomic<uint64_t> next_key{0};
};

// Commits until the end and returns the latencies, in microseconds, of what began and ended in
// the measured time.
std::vector<float> CommitUntilEnd(Load& load) {
  rocksdb::WriteOptions durable;
  durable.sync = true;
  std::vector<float> latencies;
  auto now = Clock::now();
  while (now < load.ends) {
    auto status = load.db->Put(durable, KeyBytes(load.next_key++), load.value);
    if (!status.ok()) Fail("put", status);
    auto after = Clock::now();
    if (now >= load.begins && after <= load.ends) {
      latencies.push_back(std::chrono::duration<float, std::micro>(after - now).count());
    }
    now = after;
  }
  return latencies;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::printf("%d.%d.%d\n", ROCKSDB_MAJOR, ROCKSDB_MINOR, ROCKSDB_PATCH);
    return 0;
  }
  if (argc != 5) {
    std::fprintf(stderr, "usage: rocksdb_commit FOLDER THREADS SECONDS ROW_BYTES\n");
    return 2;
  }
  const int threads = std::atoi(argv[2]);
  const double seconds = std::atof(argv[3]);

  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  auto status = rocksdb::DB::Open(options, argv[1], &opened);
  if (!status.ok()) Fail("open", status);
  std::unique_ptr<rocksdb::DB> db(opened);

  Load load;
  load.db = db.get();
  load.value = std::string(std::atoi(argv[4]), 'v');
  load.begins = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(kWarmUpSeconds));
  load.ends = load.begins + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(seconds));

  std::vector<std::vector<float>> found(threads);
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&load, &found, i] { found[i] = CommitUntilEnd(load); });
  }
  for (auto& worker : workers) worker.join();

  std::vector<float> all;
  for (const auto& part : found) all.insert(all.end(), part.begin(), part.end());
  if (all.empty()) {
    std::fprintf(stderr, "no commit ended in the measured time\n");
    return 1;
  }
  std::sort(all.begin(), all.end());
  std::printf("%.1f %.1f %.1f\n", all.size() / seconds, all[all.size() / 2], all[all.size() * 99 / 100]);
  return 0;
}
