pragma foreign_keys = on;

create table cities (
    id integer primary key,
    name text not null unique,
    postcode_area text not null,
    latitude real not null,
    longitude real not null
);
create table makes (
    id integer primary key,
    name text not null unique collate nocase
);
create table models (
    id integer primary key,
    make_id integer not null references makes,
    name text not null,
    body text not null check (body in ('hatchback', 'saloon', 'estate', 'suv', 'convertible')),
    list_price_pence integer not null check (list_price_pence > 0),
    launched integer not null,
    ended integer not null,
    unique (make_id, name)
);
create table dealers (
    id integer primary key,
    name text not null unique,
    city_id integer not null references cities,
    address text not null,
    postcode text not null,
    phone text not null,
    franchise_make_id integer references makes,
    joined_on text not null
);
create table customers (
    id integer primary key,
    first_name text not null,
    last_name text not null,
    email text not null unique collate nocase,
    phone text,
    address text not null,
    city_id integer not null references cities,
    registered_at text not null,
    newsletter integer not null check (newsletter in (0, 1))
);
create table cars (
    id integer primary key,
    vin text not null unique check (length(vin) = 17),
    registration text not null unique,
    model_id integer not null references models,
    first_registered_on text not null,
    fuel text not null,
    gearbox text not null check (gearbox in ('manual', 'automatic')),
    colour text not null,
    mileage integer not null check (mileage >= 0),
    previous_owners integer not null,
    equipment text not null check (json_valid(equipment)),
    battery_health real check (battery_health between 0 and 1),
    service_book_sha256 blob check (length(service_book_sha256) = 32)
);
create table service_records (
    id integer primary key,
    car_id integer not null references cars on delete cascade,
    done_on text not null,
    mileage integer not null,
    work text not null,
    cost_pence integer not null
);
create table listings (
    id integer primary key,
    car_id integer not null references cars,
    dealer_id integer not null references dealers,
    listed_at text not null,
    closed_at text,
    status text not null check (status in ('active', 'reserved', 'sold', 'withdrawn')),
    first_price_pence integer not null,
    price_pence integer not null check (price_pence > 0),
    views integer not null default 0
);
create table price_changes (
    id integer primary key,
    listing_id integer not null references listings on delete cascade,
    changed_at text not null,
    old_price_pence integer not null,
    new_price_pence integer not null
);
create table favourites (
    customer_id integer not null references customers on delete cascade,
    listing_id integer not null references listings on delete cascade,
    added_at text not null,
    primary key (customer_id, listing_id)
) without rowid;
create table enquiries (
    id integer primary key,
    listing_id integer not null references listings,
    customer_id integer not null references customers,
    asked_at text not null,
    question text not null,
    answered_at text
);
create table test_drives (
    id integer primary key,
    enquiry_id integer not null unique references enquiries,
    starts_at text not null,
    outcome text not null check (outcome in ('planned', 'done', 'missed'))
);
create table sales (
    id integer primary key,
    listing_id integer not null unique references listings,
    customer_id integer not null references customers,
    sold_at text not null,
    price_pence integer not null,
    part_exchange_pence integer not null default 0,
    financed integer not null check (financed in (0, 1))
);
create table reviews (
    sale_id integer primary key references sales,
    stars integer not null check (stars between 1 and 5),
    text text not null,
    written_at text not null
);
