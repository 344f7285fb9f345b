// Which part of an exchange runs on which stream.
#include "engine/training/exchange/row_exchange.h"

namespace memengine {

RowExchange::RowExchange(Runtime& runtime, std::span<const MemoryBank> banks)
    : runtime_(runtime), banks_(banks) {
  for (const MemoryBank& bank : banks_) bank.empty_staging(runtime_.context());
}

void RowExchange::start(const MemoryBank& bank) const {
  wait_for(runtime_.side(), runtime_.context());
  bank.merge_picks(runtime_.side());
  bank.plan_exchange(runtime_.side());
  wait_for(runtime_.link(), runtime_.side());
  bank.exchange_rows(runtime_.link(), ExchangePace::beside_others);
}

void RowExchange::finish() const {
  for (const MemoryBank& bank : banks_) {
    bank.exchange_rows(runtime_.context(), ExchangePace::alone);
  }
  wait_for(runtime_.context(), runtime_.link());
}

void RowExchange::store() const {
  for (const MemoryBank& bank : banks_) bank.store_rows(runtime_.context());
}

}  // namespace memengine
